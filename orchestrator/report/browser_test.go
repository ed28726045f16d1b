package report

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// browser finds a Chromium. Where there is none the test is skipped, loudly; with CI set it fails.
func browser(t *testing.T) string {
	t.Helper()
	names := []string{"chromium", "chromium-browser", "google-chrome"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	message := "NO BROWSER: none of " + strings.Join(names, ", ") + " is in PATH, so nobody looked at the report; `make chromium` installs one"
	if os.Getenv("CI") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// TestReportInABrowser opens a report as people do, from the disk: everything that matters is to be seen, and
// nothing but the file is asked for.
func TestReportInABrowser(t *testing.T) {
	path := browser(t)
	dir := t.TempDir()
	if err := Write(dir, sample()); err != nil {
		t.Fatal(err)
	}
	file := "file://" + filepath.Join(dir, HTMLName)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1100, 1600),
		chromedp.WSURLReadTimeout(100*time.Second),
	)...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()

	var mu sync.Mutex
	var requested, dialogs []string
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			requested = append(requested, e.Request.URL)
		case *page.EventJavascriptDialogOpening:
			dialogs = append(dialogs, e.Message)
		}
	})
	if err != nil {
		t.Fatalf("cannot start %s: %v", path, err)
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(file)); err != nil {
		t.Fatalf("cannot open the report in %s: %v", path, err)
	}
	// What is seen: the text of each element that takes up room.
	const seen = `Object.fromEntries(["h1", "svg.bar", "table.sums", "tfoot", "#conflict-3", "#conflict-9", "#refused", "#waiting", "#details", "#kinds", "#timeline", "ol.timeline", "#merged", "nav"].map(s => {
		const e = document.querySelector(s), box = e && e.getBoundingClientRect();
		return [s, e && box.width > 0 && box.height > 0 && getComputedStyle(e).visibility === "visible" ? (e.innerText || e.querySelector("desc").textContent) : ""];
	}))`
	texts := evaluate[map[string]string](ctx, t, seen)
	bars := evaluate[int](ctx, t, `document.querySelectorAll("svg.bar rect[class]").length`)
	wide := evaluate[int](ctx, t, `document.documentElement.scrollWidth - document.documentElement.clientWidth`)
	for element, want := range map[string]string{
		"h1": "4 conflicts wait for a decision, 1 change was refused, 2 depend on what is held, 1 was dropped as decided, 1,042 are home", "svg.bar": "Held: waits for a decision: 4",
		"table.sums": "Home: sent, and read back at central\t1,039", "tfoot": "1,051", "#conflict-3": "+507 6111 1111",
		"#conflict-9": `<script>alert("gone")</script>`, "#refused": "What central refused", "#waiting": "What waits for what", "#details": "Details",
		"#kinds": "By kind of record", "ol.timeline": "maria signed off 7 held changes", "#merged": "Edited on both sides", "nav": "What needs a decision (4)",
	} {
		if !strings.Contains(texts[element], want) {
			t.Errorf("%s shows %q, want %q in it", element, texts[element], want)
		}
	}
	if bars != len(partsOf(sample())) {
		t.Errorf("the bar has %d parts, want %d", bars, len(partsOf(sample())))
	}
	if wide > 0 {
		t.Errorf("the page is %d pixels wider than the window", wide)
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(360, 740)); err != nil {
		t.Fatal(err)
	}
	if wide := evaluate[int](ctx, t, `document.documentElement.scrollWidth - 360`); wide > 0 {
		t.Errorf("on a telephone the page is %d pixels wider than the screen", wide)
	}
	// What those who do not see the page hear of it.
	const unheard = `[
		...[...document.querySelectorAll("svg:not([aria-hidden])")].filter(e => !e.querySelector("title") || !e.getAttribute("aria-labelledby")).map(e => "a chart without words: " + e.outerHTML.slice(0, 80)),
		...[...document.querySelectorAll("section")].filter(e => !e.getAttribute("aria-labelledby")).map(e => "a section without a name: " + e.id),
		...["header", "nav", "main", "footer", "h1"].filter(s => document.querySelectorAll(s).length !== 1).map(s => "not one " + s),
		...[...document.querySelectorAll("[id]")].filter(e => document.querySelectorAll("#" + CSS.escape(e.id)).length > 1).map(e => "two of " + e.id),
		...[...document.querySelectorAll(".scroll")].filter(e => e.tabIndex !== 0).map(e => "out of the keyboard's reach: " + e.getAttribute("aria-labelledby")),
	]`
	for _, complaint := range evaluate[[]string](ctx, t, unheard) {
		t.Error(complaint)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(requested) != 1 || requested[0] != file {
		t.Errorf("the page asked for %q, want %q alone", requested, file)
	}
	if dialogs != nil {
		t.Errorf("a value became a script: %q", dialogs)
	}
}

func evaluate[T any](ctx context.Context, t *testing.T, script string) T {
	t.Helper()
	result, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatal(err)
	}
	return result
}
