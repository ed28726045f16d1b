package compose

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUp(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)

	steps, changed := up(t, engine, settings)
	want := []string{"creating the volume database", "creating the volume home", "creating postgres", "starting postgres", "waiting for postgres", "creating dhis2", "starting dhis2"}
	if diff := cmp.Diff(want, steps); diff != "" || !changed {
		t.Fatalf("first up: changed %t (-want +got):\n%s", changed, diff)
	}
	closed := states(t, engine, project)
	for name, state := range closed {
		if !state.Running || !state.Address.IsValid() || state.Published.IsValid() || state.Since.IsZero() {
			t.Errorf("%s of a closed stack: %+v", name, state)
		}
	}
	answers(t, "http://"+netip.AddrPortFrom(closed["dhis2"].Address, DHIS2Port).String())
	if out := cli(t.Context(), t, engine, "port", closed["dhis2"].Container); out != "" {
		t.Errorf("a closed stack publishes %s", out)
	}

	// Again: nothing.
	before := ids(t, engine, project)
	if steps, changed := up(t, engine, settings); changed || len(steps) > 0 {
		t.Errorf("second up changed the stack: %t %q", changed, steps)
	}
	if diff := cmp.Diff(before, ids(t, engine, project)); diff != "" {
		t.Error(diff)
	}
	if since := states(t, engine, project)["dhis2"].Since; !since.Equal(closed["dhis2"].Since) {
		t.Error("second up restarted DHIS2")
	}

	// Open: only DHIS2 is made anew.
	settings.Clinic = clinicAt(freePort(t))
	up(t, engine, settings)
	after := ids(t, engine, project)
	if before["postgres"] != after["postgres"] || before["dhis2"] == after["dhis2"] {
		t.Errorf("opening changed %v to %v", before, after)
	}
	open := states(t, engine, project)
	address := netip.AddrPortFrom(settings.Clinic.Address, settings.Clinic.Port)
	if open["dhis2"].Published != address || open["postgres"].Published.IsValid() {
		t.Errorf("published: dhis2 %s, postgres %s", open["dhis2"].Published, open["postgres"].Published)
	}
	answers(t, "http://"+address.String())
	answers(t, "http://"+netip.AddrPortFrom(open["dhis2"].Address, DHIS2Port).String())

	// Down keeps the volumes, and what is in them.
	for range 2 {
		if err := engine.Down(t.Context(), project); err != nil {
			t.Fatal(err)
		}
	}
	volumes, err := engine.Volumes(t.Context(), project)
	if err != nil || len(volumes) != 2 || volumes[0].Key != "database" || volumes[0].PostgresMajor != "15" || volumes[1].Key != "home" {
		t.Fatalf("volumes after down: %+v, %v", volumes, err)
	}
	if left := resources(t.Context(), t, engine, project); strings.Contains(left, "ps ") || strings.Contains(left, "network ") {
		t.Errorf("left after down:\n%s", left)
	}
	settings.Clinic = nil
	up(t, engine, settings)
}

// What an interruption or somebody else left is mended by the next up.
func TestUpMends(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	up(t, engine, settings)
	postgres, dhis2 := project+"-postgres-1", project+"-dhis2-1"
	for _, test := range []struct {
		name string
		harm func()
		want []string // containers that are made anew
	}{
		{"a container was stopped", func() { cli(t.Context(), t, engine, "stop", dhis2) }, nil},
		{"both containers were killed", func() { cli(t.Context(), t, engine, "kill", dhis2, postgres) }, nil},
		{"the engine has started dhis2 before postgres", func() {
			cli(t.Context(), t, engine, "stop", postgres)
			cli(t.Context(), t, engine, "restart", dhis2)
		}, nil},
		{"a container was removed", func() { cli(t.Context(), t, engine, "rm", "-f", dhis2) }, []string{"dhis2"}},
		{"a container was paused", func() { cli(t.Context(), t, engine, "pause", dhis2) }, []string{"dhis2"}},
		{"a container has lost its network", func() { cli(t.Context(), t, engine, "network", "disconnect", "-f", project+"_data", postgres) }, []string{"postgres"}},
		{"all was stopped and the network removed", func() {
			cli(t.Context(), t, engine, "stop", dhis2, postgres)
			cli(t.Context(), t, engine, "network", "disconnect", "-f", project+"_data", dhis2)
			cli(t.Context(), t, engine, "network", "disconnect", "-f", project+"_data", postgres)
			cli(t.Context(), t, engine, "network", "rm", project+"_data")
		}, []string{"dhis2", "postgres"}},
		{"something else is in the project", func() {
			cli(t.Context(), t, engine, "create", "--name", project+"-other-1", "--label", "com.docker.compose.project="+project, "--label", "com.docker.compose.service=other", postgresImage)
			cli(t.Context(), t, engine, "network", "create", "--label", "com.docker.compose.project="+project, "--label", "com.docker.compose.network=other", project+"_other")
		}, nil},
		{"an up was interrupted before it had copied the files", func() {
			ctx, cancel := context.WithCancel(t.Context())
			cli(t.Context(), t, engine, "rm", "-f", dhis2)
			_, err := engine.Up(ctx, mustLoad(t, settings), func(step string) {
				if step == "starting dhis2" {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
		}, []string{"dhis2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := ids(t, engine, project)
			test.harm()
			if _, changed := up(t, engine, settings); !changed {
				t.Error("up changed nothing")
			}
			after := ids(t, engine, project)
			for _, service := range []string{"postgres", "dhis2"} {
				if anew := before[service] != after[service]; anew != slices.Contains(test.want, service) {
					t.Errorf("%s was made anew: %t", service, anew)
				}
			}
			if len(after) != 2 {
				t.Errorf("containers %v", after)
			}
			answers(t, "http://"+netip.AddrPortFrom(states(t, engine, project)["dhis2"].Address, DHIS2Port).String())
			if steps, changed := up(t, engine, settings); changed {
				t.Errorf("the next up changed something: %q", steps)
			}
		})
	}
}

func TestUpRefuses(t *testing.T) {
	engine := testEngine(t)
	t.Run("an image that is missing", func(t *testing.T) {
		project := newProject(t, engine)
		settings := engineSettings(project)
		settings.DHIS2Image = "fieldkit/nothing:1"
		_, err := engine.Up(t.Context(), mustLoad(t, settings), nil)
		if !errors.Is(err, ErrNoImage) || !strings.Contains(err.Error(), "fieldkit/nothing:1") {
			t.Errorf("got %v", err)
		}
		if left := resources(t.Context(), t, engine, project); left != "" {
			t.Errorf("made:\n%s", left)
		}
	})
	for name, labels := range map[string][]string{
		"another project's volume":      {"--label", "com.docker.compose.project=other"},
		"a volume that nobody labelled": {},
	} {
		t.Run(name, func(t *testing.T) {
			project := newProject(t, engine)
			volume := project + "_home"
			cli(t.Context(), t, engine, slices.Concat([]string{"volume", "create"}, labels, []string{volume})...)
			t.Cleanup(func() { cli(context.WithoutCancel(t.Context()), t, engine, "volume", "rm", volume) })
			_, err := engine.Up(t.Context(), mustLoad(t, engineSettings(project)), nil)
			var failure *VolumeError
			if !errors.As(err, &failure) || failure.Volume != volume {
				t.Errorf("got %v", err)
			}
			if left := resources(t.Context(), t, engine, project); strings.Count(left, "\n") > 0 {
				t.Errorf("made:\n%s", left)
			}
		})
	}
	t.Run("a port that cannot be had", func(t *testing.T) {
		project := newProject(t, engine)
		settings := engineSettings(project)
		settings.Clinic = &ClinicPort{Name: "kit.test", Address: netip.MustParseAddr("192.0.2.7"), Port: 80}
		_, err := engine.Up(t.Context(), mustLoad(t, settings), nil)
		var failure *PortError
		if !errors.As(err, &failure) || failure.Taken || failure.Port.Addr() != settings.Clinic.Address {
			t.Fatalf("an address of another machine: %v", err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		settings.Clinic = clinicAt(netip.MustParseAddrPort(listener.Addr().String()).Port())
		_, err = engine.Up(t.Context(), mustLoad(t, settings), nil)
		if !errors.As(err, &failure) || !failure.Taken || failure.Port.Port() != settings.Clinic.Port {
			t.Fatalf("a port that is taken: %v", err)
		}
		// Once it is free, the next up succeeds.
		listener.Close()
		up(t, engine, settings)
		answers(t, "http://127.0.0.1:"+strconv.Itoa(int(settings.Clinic.Port)))
	})
	t.Run("a database whose making was interrupted", func(t *testing.T) {
		project := newProject(t, engine)
		settings := override(t, engineSettings(project), "configs: {initialise: {content: \"#!/bin/sh\\nexit 1\\n\"}}\n")
		for range 2 { // the image goes on as if it were done
			_, err := engine.Up(t.Context(), mustLoad(t, settings), nil)
			var failure *ServiceError
			if !errors.As(err, &failure) || !failure.Unfinished {
				t.Fatalf("got %v", err)
			}
		}
		if err := engine.Destroy(t.Context(), project); err != nil {
			t.Fatal(err)
		}
		settings.Override = ""
		up(t, engine, settings)
	})
	t.Run("a database that ends at once", func(t *testing.T) {
		project := newProject(t, engine)
		settings := override(t, engineSettings(project), "services: {postgres: {command: [postgres, -c, nonsense=on]}}\n")
		_, err := engine.Up(t.Context(), mustLoad(t, settings), nil)
		var failure *ServiceError
		if !errors.As(err, &failure) || failure.Service != "postgres" {
			t.Fatalf("got %v", err)
		}
		t.Log(err)
	})
}

// A change of the stack makes anew what it concerns, and keeps the data.
func TestUpRecreates(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := engineSettings(project)
	up(t, engine, settings)
	sql(t, engine, settings, "CREATE TABLE kept (a int)")
	for _, test := range []struct {
		name, override string
		want           []string
	}{
		{"memory of postgres", "services: {postgres: {mem_limit: 600m}}\n", []string{"postgres"}},
		{"a network's addresses", "networks: {data: {ipam: {config: [{subnet: 10.213.250.0/28}]}}}\n", []string{"dhis2", "postgres"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			up(t, engine, settings)
			before := ids(t, engine, project)
			changed := override(t, settings, test.override)
			up(t, engine, changed)
			after := ids(t, engine, project)
			for _, service := range []string{"postgres", "dhis2"} {
				if anew := before[service] != after[service]; anew != slices.Contains(test.want, service) {
					t.Errorf("%s was made anew: %t", service, anew)
				}
			}
			if got := sql(t, engine, settings, "SELECT count(*) FROM kept"); got != "0" {
				t.Errorf("the database: %s", got)
			}
		})
	}
	t.Run("a volume's device cannot change", func(t *testing.T) {
		_, err := engine.Up(t.Context(), mustLoad(t, override(t, settings, "volumes: {database: {driver_opts: {type: ext4, device: /dev/sdb1}}}\n")), nil)
		var failure *VolumeError
		if !errors.As(err, &failure) {
			t.Errorf("got %v", err)
		}
	})
}

// A kit is opened and closed many times. Here the image's own volume has no name: such pile up unless they go
// with their container.
func TestUpAndDownLeaveNothing(t *testing.T) {
	engine := testEngine(t)
	project := newProject(t, engine)
	settings := override(t, engineSettings(project), `
services:
  postgres:
    environment: {PGDATA: /data/pgdata}
    volumes: !override ["database:/data"]
`)
	nameless := map[string]bool{}
	for range 20 {
		up(t, engine, settings)
		for _, name := range strings.Fields(cli(t.Context(), t, engine, "inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}", project+"-postgres-1")) {
			nameless[name] = len(name) == 64
		}
		if err := engine.Down(t.Context(), project); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for _, name := range strings.Fields(cli(t.Context(), t, engine, "volume", "ls", "-q")) {
		if nameless[name] {
			t.Errorf("a nameless volume was left: %s", name)
		}
	}
	for _, is := range nameless {
		if is {
			found++
		}
	}
	if found != 20 {
		t.Errorf("%d nameless volumes were made, so the test shows nothing", found)
	}
	for range 2 {
		if err := engine.Destroy(t.Context(), project); err != nil {
			t.Fatal(err)
		}
	}
	if left := resources(t.Context(), t, engine, project); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}
