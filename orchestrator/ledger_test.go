package orchestrator_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2sim"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// ledger reads the latest trip's ledger.
func (w *world) ledger() ([]orchestrator.LedgerEntry, error) {
	kit := w.open()
	defer kit.Close()
	var entries []orchestrator.LedgerEntry
	head, err := kit.Ledger(w.t.Context(), "", func(entry orchestrator.LedgerEntry) error {
		entries = append(entries, entry)
		return nil
	})
	if err == nil && (head.Format != orchestrator.LedgerFormat || head.Trip == "") {
		w.t.Errorf("the ledger begins with %+v", head)
	}
	return entries, err
}

// TestOriginalTimes: what is made on the kit has at central, as its client's time, the tablet's, else the kit's; the tablet's
// user where the version keeps storedBy; and all of it is in the ledger, encrypted and without values.
func TestOriginalTimes(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		_, _, w := pair(t, version)
		w.inTheField()
		if _, err := w.ledger(); !errors.Is(err, orchestrator.ErrUsage) {
			t.Errorf("before anything went home the ledger answers %v", err)
		}
		tablet := w.patient("Zoe", map[string]string{"nationalID": "8-999-9", "phone": "6000-0099"})
		tablet.StoredBy, tablet.CreatedAtClient, tablet.UpdatedAtClient = "nilda", "2026-05-04T10:00:00.000", "2026-05-04T10:05:00.000"
		tablet.Enrollments[0].StoredBy = "nilda"
		for i := range tablet.Attributes {
			tablet.Attributes[i].StoredBy = "nilda"
		}
		web := w.patient("Yara", map[string]string{"nationalID": "8-999-8"})
		w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{tablet, web, w.changed("Ana", "phone", "6111-0001")}}, "")
		w.send(w.local, dhis2api.TrackerPayload{Events: []*dhis2api.Event{{Event: w.id("Elena's first visit")}}}, dhis2api.ImportStrategyDelete)
		on := func(server *dhis2api.Client, name string) *dhis2api.TrackedEntity {
			t.Helper()
			p, err := server.TrackedEntity(t.Context(), w.id(name), dhis2api.Lookup{Program: w.id("program")})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		kitsYara, kitsAna := on(w.local, "Yara"), on(w.local, "Ana")
		w.reconcile(false)

		stored := "admin" // who reconciles: DHIS2 2.41 and 2.43 keep nobody else
		if strings.HasPrefix(version, "2.42") {
			stored = "nilda"
		}
		type kept struct{ created, updated, enrolledBy, valueBy string }
		keptOf := func(p *dhis2api.TrackedEntity) kept {
			return kept{p.CreatedAtClient, p.UpdatedAtClient, p.Enrollments[0].StoredBy, p.Attributes[0].StoredBy}
		}
		zoe := keptOf(on(w.central, "Zoe"))
		if want := (kept{tablet.CreatedAtClient, tablet.UpdatedAtClient, stored, stored}); zoe != want {
			t.Errorf("of the tablet's patient central has %+v, want %+v", zoe, want)
		}
		yara := keptOf(on(w.central, "Yara"))
		if want := (kept{kitsYara.CreatedAt, kitsYara.UpdatedAt, "admin", "admin"}); yara != want {
			t.Errorf("of the web's patient central has %+v, want %+v", yara, want)
		}
		if ana := on(w.central, "Ana"); ana.UpdatedAtClient != kitsAna.UpdatedAt {
			t.Errorf("Ana was changed at %s for central, at %s on the kit", ana.UpdatedAtClient, kitsAna.UpdatedAt)
		}

		entries, err := w.ledger()
		if err != nil {
			t.Fatal(err)
		}
		find := func(kind merge.Kind, uid string) orchestrator.LedgerEntry {
			t.Helper()
			at := slices.IndexFunc(entries, func(e orchestrator.LedgerEntry) bool { return e.Kind == kind && e.UID == uid })
			if at < 0 {
				t.Fatalf("%s %s is not in the ledger", kind, uid)
			}
			return entries[at]
		}
		kitsZoe := on(w.local, "Zoe")
		if e := find(merge.TrackedEntity, w.id("Zoe")); e.Verb != merge.Create || e.OnKit.At != kitsZoe.CreatedAt || e.OnKit.By != "admin" || e.Sent.IsZero() || e.Answer != "stored" {
			t.Errorf("the ledger has %+v", e)
		}
		if e := find(merge.Enrollment, w.id("Zoe's enrollment")); e.OnKit.By != stored {
			t.Errorf("the ledger has %+v", e)
		}
		if e := find(merge.TrackedEntity, w.id("Ana")); e.Verb != merge.Update || e.Field != w.id("phone") || e.OnKit.At == "" || e.Answer != "stored" {
			t.Errorf("the ledger has %+v", e)
		}
		if e := find(merge.Event, w.id("Elena's first visit")); e.Verb != merge.Delete || e.OnKit.By != "admin" || e.Answer != "deleted" {
			t.Errorf("the ledger has %+v", e)
		}

		w.reconcile(false)
		again, err := w.ledger()
		if difference := cmp.Diff(entries, again); err != nil || difference != "" {
			t.Errorf("a second run changes the ledger: %v\n%s", err, difference)
		}
		path := filepath.Join(w.kitDir, "trips")
		ledgers, err := filepath.Glob(filepath.Join(path, "*", "ledger.jsonl.zst.age"))
		if err != nil || len(ledgers) != 1 {
			t.Fatalf("there are the ledgers %v: %v", ledgers, err)
		}
		content, err := os.ReadFile(ledgers[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ledgers[0], content[:len(content)-20], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.ledger(); !errors.Is(err, orchestrator.ErrDamaged) {
			t.Errorf("a ledger cut short answers %v", err)
		}
	})
}

// TestSideEffects: central is told to send no messages for what comes home, unless fieldkit.yaml asks for them.
func TestSideEffects(t *testing.T) {
	for name, asked := range map[string]bool{"left out": false, "asked for": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := dhis2sim.New(dhis2sim.Options{Version: "2.43.1"})
			if err != nil {
				t.Fatal(err)
			}
			var writing sync.Mutex
			skips := map[string]bool{}
			listening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if query := r.URL.Query(); r.Method == http.MethodPost {
					writing.Lock()
					switch {
					case strings.HasSuffix(r.URL.Path, "/tracker"):
						skips["tracker"] = query.Get("skipSideEffects") == "true"
					case strings.HasSuffix(r.URL.Path, "/completeDataSetRegistrations"):
						skips["completions"] = query.Get("skipNotifications") == "true"
					}
					writing.Unlock()
				}
				server.ServeHTTP(w, r)
			}))
			t.Cleanup(listening.Close)
			w := newWorld(t, listening.URL, simulated(t, "2.43.1"), "")
			if asked {
				path := filepath.Join(w.kitDir, "fieldkit.yaml")
				config, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, append(config, "sideEffects: true\n"...), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w.inTheField()
			w.send(w.local, dhis2api.TrackerPayload{TrackedEntities: []*dhis2api.TrackedEntity{w.changed("Ana", "phone", "6111-0001")}}, "")
			w.complete(w.local, "202605")
			clear(skips)
			if r := w.reconcile(false); r.ExitCode() != 0 {
				t.Fatalf("want all home: %s", asJSON(r))
			}
			if want := map[string]bool{"tracker": !asked, "completions": !asked}; !cmp.Equal(want, skips) {
				t.Errorf("central was told to skip messages: %v, want %v", skips, want)
			}
		})
	}
}
