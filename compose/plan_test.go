package compose

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// running is what an engine has when the stack runs just as it should.
func running(t *testing.T, stack *Stack) observed {
	t.Helper()
	seen := observed{
		volumes: map[string]observedVolume{},
		images: map[string]observedImage{
			"dhis2/core:2.42.5.2":    {id: "sha256:dhis2"},
			"postgis/postgis:15-3.3": {id: "sha256:postgis", postgresMajor: "15"},
		},
	}
	ids := map[string]string{}
	for _, key := range stack.project.NetworkNames() {
		hash, err := stack.networkHash(key)
		if err != nil {
			t.Fatal(err)
		}
		name := stack.networkName(key)
		ids[key] = "network-" + key
		seen.networks = append(seen.networks, observedNetwork{id: ids[key], name: name, key: key, hash: hash})
	}
	for _, key := range stack.project.VolumeNames() {
		name := stack.volumeName(key)
		seen.volumes[name] = observedVolume{name: name, key: key, project: stack.Project(), driver: "local"}
	}
	database := seen.volumes[stack.volumeName("database")]
	database.major = "15"
	seen.volumes[database.name] = database
	for _, name := range stack.order() {
		hash, err := stack.hash(name)
		if err != nil {
			t.Fatal(err)
		}
		container := observedContainer{
			id: "container-" + name, name: stack.containerName(name), service: name, hash: hash,
			imageID: seen.images[stack.project.Services[name].Image].id, dependsOn: dependencies(stack, name),
			state: "running", networks: map[string]string{},
		}
		if name == "postgres" {
			container.health = "healthy"
		}
		for _, key := range stack.serviceNetworks(name) {
			container.networks[stack.networkName(key)] = ids[key]
		}
		seen.containers = append(seen.containers, container)
	}
	return seen
}

func dependencies(stack *Stack, name string) []string {
	service := stack.project.Services[name]
	return service.GetDependencies()
}

// container points to one of a service.
func (o *observed) container(service string) *observedContainer {
	for i := range o.containers {
		if o.containers[i].service == service {
			return &o.containers[i]
		}
	}
	return nil
}

// Each case is a golden file of the operations that lead from what is observed to the open stack.
func TestPlan(t *testing.T) {
	nothing := func(seen *observed) { *seen = observed{images: seen.images} }
	for _, test := range []struct {
		name   string
		change func(*observed)
	}{
		{"nothing is there", nothing},
		{"all is as it should be", func(*observed) {}},
		{"the volumes are kept from an earlier time", func(seen *observed) {
			volumes := seen.volumes
			nothing(seen)
			seen.volumes = volumes
		}},
		{"postgres is not healthy yet", func(seen *observed) { seen.container("postgres").health = "starting" }},
		{"postgres is started again and again", func(seen *observed) { seen.container("postgres").state = "restarting" }},
		{"both are stopped", func(seen *observed) { seen.containers[0].state, seen.containers[1].state = "exited", "exited" }},
		{"dhis2 is of another configuration", func(seen *observed) { seen.container("dhis2").hash = "other" }},
		{"both are of other configurations", func(seen *observed) { seen.containers[0].hash, seen.containers[1].hash = "other", "other" }},
		{"dhis2 has another image", func(seen *observed) { seen.container("dhis2").imageID = "sha256:other" }},
		{"dhis2 was made and never started", func(seen *observed) { seen.container("dhis2").state = "created" }},
		{"dhis2 is paused", func(seen *observed) { seen.container("dhis2").state = "paused" }},
		{"dhis2 has lost the clinic's network", func(seen *observed) { delete(seen.container("dhis2").networks, "fieldkit-bocas-1-a1b2c3_clinic") }},
		{"the network data was made anew by somebody", func(seen *observed) { seen.networks[1].id = "other" }},
		{"the network data is of another configuration", func(seen *observed) { seen.networks[1].hash = "other" }},
		{"there are two networks data", func(seen *observed) {
			double := seen.networks[1]
			double.id = "double"
			seen.networks = append(seen.networks, double)
		}},
		{"there are two containers of dhis2", func(seen *observed) {
			double := *seen.container("dhis2")
			double.id, double.name = "double", double.name+"-old"
			seen.containers = append(seen.containers, double)
		}},
		{"there is a keeper of a later fieldkit", func(seen *observed) {
			seen.containers = append(seen.containers, observedContainer{id: "k", name: "fieldkit-bocas-1-a1b2c3-keeper-1", service: "keeper", state: "running", dependsOn: []string{"dhis2"}})
			seen.networks = append(seen.networks, observedNetwork{id: "n", name: "fieldkit-bocas-1-a1b2c3_front", key: "front"})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stack := mustLoad(t, testSettings(true))
			seen := running(t, stack)
			test.change(&seen)
			plan, err := makePlan(stack, seen)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, test.name, plan)
		})
	}
	t.Run("the clinic is closed", func(t *testing.T) {
		plan, err := makePlan(mustLoad(t, testSettings(false)), running(t, mustLoad(t, testSettings(true))))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "the clinic is closed", plan)
	})
}

// golden compares a plan with testdata/plans/NAME.txt.
func golden(t *testing.T, name string, plan []operation) {
	t.Helper()
	var text strings.Builder
	for _, step := range plan {
		fmt.Fprintln(&text, step)
	}
	path := filepath.Join("testdata", "plans", strings.NewReplacer(" ", "-", "'", "").Replace(name)+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Stack, *observed)
		want   string
	}{
		{"an image is missing", func(_ *Stack, seen *observed) { delete(seen.images, "dhis2/core:2.42.5.2") }, "dhis2/core:2.42.5.2: the engine has no such image"},
		{"the volume is another stack's", withVolume(func(v *observedVolume) { v.project = "other" }), "volume fieldkit-bocas-1-a1b2c3_database: belongs to the stack other"},
		{"the volume is nobody's", withVolume(func(v *observedVolume) { v.project = "" }), "volume fieldkit-bocas-1-a1b2c3_database: was not made for this stack"},
		{"the volume lies elsewhere", withVolume(func(v *observedVolume) { v.options = map[string]string{"device": "/dev/sdb1"} }), "volume fieldkit-bocas-1-a1b2c3_database: was made with other driver options than the override asks for now"},
		{"the volume is of another PostgreSQL", withVolume(func(v *observedVolume) { v.major = "16" }), "volume fieldkit-bocas-1-a1b2c3_database: holds data of PostgreSQL 16, and postgis/postgis:15-3.3 is PostgreSQL 15"},
	} {
		t.Run(test.name, func(t *testing.T) {
			stack := mustLoad(t, testSettings(true))
			seen := running(t, stack)
			test.change(stack, &seen)
			plan, err := makePlan(stack, seen)
			if err == nil {
				t.Fatalf("planned %v", plan)
			}
			if err.Error() != test.want {
				t.Errorf("got %q, want %q", err, test.want)
			}
			var volume *VolumeError
			if !errors.Is(err, ErrNoImage) && !errors.As(err, &volume) {
				t.Errorf("an error of no kind: %T", err)
			}
		})
	}
}

func withVolume(change func(*observedVolume)) func(*Stack, *observed) {
	return func(stack *Stack, seen *observed) {
		name := stack.volumeName("database")
		volume := seen.volumes[name]
		change(&volume)
		seen.volumes[name] = volume
	}
}

func TestStopOrder(t *testing.T) {
	container := func(service string, dependsOn ...string) observedContainer {
		return observedContainer{id: service, name: service, service: service, dependsOn: dependsOn}
	}
	for _, test := range []struct {
		name       string
		containers []observedContainer
		want       []string
	}{
		{"nothing", nil, nil},
		{"a chain", []observedContainer{container("postgres"), container("keeper", "dhis2"), container("dhis2", "postgres")}, []string{"keeper", "dhis2", "postgres"}},
		{"two of one service", []observedContainer{container("dhis2", "postgres"), container("dhis2", "postgres"), container("postgres")}, []string{"dhis2", "dhis2", "postgres"}},
		{"a circle", []observedContainer{container("b", "a"), container("a", "b")}, []string{"a", "b"}},
		{"what it depends on is not there", []observedContainer{container("dhis2", "postgres")}, []string{"dhis2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, container := range stopOrder(test.containers) {
				got = append(got, container.service)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}
