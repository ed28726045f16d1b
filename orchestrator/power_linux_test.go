package orchestrator_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// disk is an ext4 on a file. What the kernel still holds in its page cache is not in the file: a copy of the
// file is what a disk holds after the power is cut.
type disk struct {
	t                 *testing.T
	file, device, dir string
}

// newDisk makes a disk of so many bytes and mounts it.
func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	folder := t.TempDir()
	d := &disk{t: t, file: filepath.Join(folder, "disk"), dir: filepath.Join(folder, "mounted")}
	file, err := os.Create(d.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		t.Fatal(err)
	}
	system(t, "mkfs.ext4", "-q", d.file)
	d.mount()
	return d
}

// mount mounts the disk past the page cache of the file below it, and lets ext4 keep what nobody syncs for a
// minute.
func (d *disk) mount() {
	d.t.Helper()
	d.device = system(d.t, "losetup", "--find", "--show", "--direct-io=on", d.file)
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	system(d.t, "mount", "-o", "commit=60", d.device, d.dir)
	d.t.Cleanup(d.unmount)
}

// unmount may be called twice.
func (d *disk) unmount() {
	if d.device == "" {
		return
	}
	if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
		d.t.Errorf("unmounting %s: %v", d.dir, err)
	}
	if out, err := exec.Command("losetup", "--detach", d.device).CombinedOutput(); err != nil {
		d.t.Errorf("losetup --detach %s: %v: %s", d.device, err, out)
	}
	d.device = ""
}

// afterPowerCut is the disk as it would be found, were the power cut now.
func (d *disk) afterPowerCut() *disk {
	d.t.Helper()
	folder := d.t.TempDir()
	found := &disk{t: d.t, file: filepath.Join(folder, "disk"), dir: filepath.Join(folder, "mounted")}
	system(d.t, "cp", "--sparse=always", d.file, found.file)
	found.mount()
	return found
}

// system runs a program of the system and returns what it printed.
func system(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(arguments, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestSoakPowerCut registers patients through the clinic's port, cuts the power, and looks whether the database
// that is then on the disk has every patient whose import was acknowledged. Killing processes would not tell: the
// kernel's page cache survives that. That a database which does not sync loses patients here is tried last: else
// the test would prove nothing.
func TestSoakPowerCut(t *testing.T) {
	e := newEngine(t, 221)
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Fatal(err)
	}
	d := newDisk(t, 3<<30)
	folder := filepath.Join(d.dir, "postgres")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	k := newStackKit(t, e, "127.0.0.1")
	// The kit's volume lies on that disk; the containers must be gone before it is.
	volume := fmt.Sprintf("volumes: {database: {driver_opts: {type: none, o: bind, device: %s}}}\n", folder)
	k.write("compose.override.yaml", volume)
	k.patientsAtCentral()
	k.fieldkit("prepare", "--yes")
	k.fieldkit("up")
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes", "data_checksums"} {
		if got := k.sql("show " + setting); got != "on" {
			t.Errorf("%s is %s", setting, got)
		}
	}
	rounds := 5
	if os.Getenv("FIELDKIT_SOAK") != "" {
		rounds = 100
	}
	var acknowledged []string
	for round := range rounds {
		acknowledged = append(acknowledged, k.register(round, 10)...)
		missing, err := k.lost(d.cut(k), acknowledged)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(missing) > 0 {
			t.Fatalf("round %d: of %d acknowledged patients the power cut took %d: %v", round, len(acknowledged), len(missing), missing)
		}
	}
	t.Logf("%d power cuts: all of %d acknowledged patients are there", rounds, len(acknowledged))

	k.write("compose.override.yaml", volume+"services: {postgres: {command: [postgres, -c, fsync=off]}}\n")
	k.fieldkit("up")
	system(t, "sync", "--file-system", d.dir)
	lately := k.register(rounds, 10)
	missing, err := k.lost(d.cut(k), lately)
	if err == nil && len(missing) == 0 {
		t.Error("a database that does not sync lost nothing: this test cannot find what it looks for")
	}
	t.Logf("without fsync the power cut took %d of %d acknowledged patients (%v)", len(missing), len(lately), err)
}

// cut is the disk that is found after a power cut in the middle of the kit's work.
func (d *disk) cut(k *stackKit) *disk {
	k.t.Helper()
	postgres := k.container("postgres")
	k.engine.docker("pause", postgres) // the copy takes a moment: nothing may be written meanwhile
	defer k.engine.docker("unpause", postgres)
	return d.afterPowerCut()
}

// register registers patients at the clinic's port and returns the uids of those acknowledged: all of them.
func (k *stackKit) register(round, count int) []string {
	k.t.Helper()
	client := k.atClinic()
	var uids []string
	for i := range count {
		name := fmt.Sprintf("patient %d of round %d", i, round)
		k.send(client, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{
			k.patient(name, map[string]string{"nationalID": fmt.Sprintf("R-%d-%d", round, i)}),
		}}, "")
		uids = append(uids, k.id(name))
	}
	return uids
}

// lost starts a database on a disk and returns which of the tracked entities it does not hold. The error says
// that no database could be started there.
func (k *stackKit) lost(found *disk, uids []string) ([]string, error) {
	k.t.Helper()
	defer found.unmount()
	name := fmt.Sprintf("after-the-cut-%d", time.Now().UnixNano())
	k.engine.docker("run", "-d", "--name", name, "--network", "none", "-e", "PGDATA=/var/lib/postgresql/data/pgdata",
		"-v", filepath.Join(found.dir, "postgres")+":/var/lib/postgresql/data", postgresImage)
	defer k.engine.docker("rm", "-f", name)
	deadline := time.Now().Add(time.Minute)
	var err error
	for ready := false; !ready; time.Sleep(200 * time.Millisecond) {
		if err = k.engine.try("exec", name, "pg_isready", "-q", "-h", "127.0.0.1"); err == nil {
			ready = true
		} else if running := k.engine.docker("inspect", "-f", "{{.State.Running}}", name); running != "true" || time.Now().After(deadline) {
			said, _ := k.engine.command("logs", "--tail", "20", name).CombinedOutput()
			return nil, fmt.Errorf("no database could be started on what the power cut left: %w\n%s", err, said)
		}
	}
	out, err := k.engine.command("exec", name, "psql", "-qAt", "-U", "dhis", "-d", "dhis2", "-c", "select uid from trackedentity").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	there := map[string]bool{}
	for uid := range strings.Lines(string(out)) {
		there[strings.TrimSpace(uid)] = true
	}
	var missing []string
	for _, uid := range uids {
		if !there[uid] {
			missing = append(missing, uid)
		}
	}
	return missing, nil
}
