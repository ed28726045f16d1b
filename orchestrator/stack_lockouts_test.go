package orchestrator_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// TestStackLockOuts: a kit of its own containers asks about lock-outs while tablets may have something to send, and
// can be opened again for them to send it.
func TestStackLockOuts(t *testing.T) {
	w := newStackWorld(t)
	w.must(w.prepare())
	_, err := w.up()
	w.must(err)
	patch := []map[string]any{{"op": "replace", "path": "/repeatable", "value": false}}
	w.must(w.central.Patch(t.Context(), "programStages", w.id("visit"), patch))
	refusal, asked, warned := errors.New("not now"), 0, 0
	prepare := func() error {
		return w.with(func(kit *orchestrator.Kit) error {
			receipt, err := kit.Prepare(t.Context(), orchestrator.PrepareOptions{LockOuts: func(_ context.Context, found []orchestrator.LockOut) error {
				asked = len(found)
				return refusal
			}})
			if receipt != nil {
				warned = len(receipt.LockOuts)
			}
			return err
		})
	}
	if err := prepare(); !errors.Is(err, refusal) || asked != 1 {
		t.Fatalf("prepare of a kit that was open ends with %v, and asked about %d", err, asked)
	}
	// The clinic goes on with what it had, and reconcile looks at all of it.
	_, err = w.up()
	w.must(err)
	w.must(w.down(false))
	w.must(w.reconcile())
	asked = 0
	w.must(prepare())
	if asked != 0 || warned != 1 {
		t.Errorf("with nothing on the kit that is not known it asked about %d and named %d", asked, warned)
	}
}

// TestStackTellsTablets: what tablets of a kit of its own are told.
func TestStackTellsTablets(t *testing.T) {
	w := newStackWorld(t)
	w.configure("clinic:", "clinic: {name: bocas-1.clinic.lan, address: 192.168.8.2, android: {reservedValues: 30}}\n")
	w.must(w.central.DataStorePut(t.Context(), "ANDROID_SETTINGS_APP", "generalSettings", map[string]any{"encryptDB": false, "messageOfTheDay": "Hola"}))
	w.must(w.prepare())
	var record struct{ AdminPassword string }
	w.must(json.Unmarshal([]byte(w.read("stack.json")), &record))
	kit, err := dhis2api.Connect(t.Context(), w.machine.server.URL, dhis2api.Credentials{Username: "admin", Password: record.AdminPassword}, dhis2api.Options{})
	w.must(err)
	for _, server := range []struct {
		client *dhis2api.Client
		want   map[string]any
	}{
		{kit, map[string]any{"encryptDB": true, "allowScreenCapture": false, "reservedValues": 30.0, "messageOfTheDay": "Hola"}},
		{w.central, map[string]any{"encryptDB": false, "messageOfTheDay": "Hola"}},
	} {
		var got map[string]any
		w.must(server.client.DataStoreGet(t.Context(), "ANDROID_SETTINGS_APP", "generalSettings", &got))
		if diff := cmp.Diff(server.want, got); diff != "" {
			t.Errorf("%s: %s", server.client.BaseURL(), diff)
		}
	}
	var synchronization struct{ DataSync, MetadataSync string }
	w.must(kit.DataStoreGet(t.Context(), "ANDROID_SETTINGS_APP", "synchronization", &synchronization))
	if synchronization.DataSync != "30m" || synchronization.MetadataSync != "1h" {
		t.Errorf("tablets synchronise: %+v", synchronization)
	}
}
