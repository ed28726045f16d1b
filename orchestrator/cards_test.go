package orchestrator

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/google/go-cmp/cmp"
	"rsc.io/qr"
)

// cardsKit is a kit that prepare let people in on.
func cardsKit(t *testing.T, config string, people string, known *localAccounts) *Kit {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{ConfigFile: smallest + config, PeopleFile: people} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kit, err := Open(OpenOptions{Dir: dir, Getenv: func(string) string { return "" }, Now: time.Now, ConfigDirectory: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kit.Close() })
	if err := kit.writeAccounts(known); err != nil {
		t.Fatal(err)
	}
	return kit
}

func sealed(t *testing.T, password string) string {
	t.Helper()
	seal, err := sealPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	return seal
}

const cardsClinic = "users: generate\nclinic: {name: bocas-1.clinic.lan, address: 192.168.8.2}\n"

func TestCards(t *testing.T) {
	kit := cardsKit(t, cardsClinic, "name,station,username,password\n"+
		"Lidia Sanjur,Triage,lidia,Kivota.mesu472\n,,marta,Bodami.teku395\nGone,,gone,Zarifo.neso224\nNora <b>,Pharmacy,nora,Madeti.vofu638\nOlga,,olga,Ripona.gevu952\n",
		&localAccounts{People: map[string]*localAccount{
			"a": {Username: "lidia", Name: "LIDIA SANJUR", Station: "Nurse", Carried: true, Seal: sealed(t, "Kivota.mesu472")},
			"b": {Username: "marta", Name: "Marta Abrego", Station: "Nurse", Carried: true, Seal: sealed(t, "Bodami.teku395"), Own: true},
			"c": {Username: "gone", Name: "Gone", Seal: sealed(t, "Zarifo.neso224")},
			"d": {Username: "nora", Carried: true},
			"e": {Username: "olga", Carried: true, Seal: sealed(t, "another")},
			"f": {Username: "unlisted", Carried: true},
		}})
	receipt, err := kit.Cards(CardsOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := &CardsReceipt{
		Path: filepath.Join(kit.Dir(), CardsFile), Cards: 3, Address: "http://bocas-1.clinic.lan", Own: []string{"marta"}, Changed: []string{"olga"},
	}
	if diff := cmp.Diff(want, receipt); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(receipt.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	content, err := os.ReadFile(receipt.Path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	for _, there := range []string{
		"Lidia Sanjur", "Triage", "Kivota.mesu472", "Marta Abrego", "Nurse", "your own", "Nora &lt;b&gt;", "Madeti.vofu638",
		"Finish. Sync this record. Green tick. Then send the patient.",
	} {
		if !strings.Contains(page, there) {
			t.Errorf("the page lacks %q", there)
		}
	}
	for _, not := range []string{"Bodami", "Zarifo", "Ripona", "olga", "unlisted", "LIDIA", "<script", "<b>,", "url(", "src=", "href="} {
		if strings.Contains(page, not) {
			t.Errorf("the page holds %q", not)
		}
	}
	if _, err := kit.Cards(CardsOptions{Language: "es"}); err != nil {
		t.Fatal(err)
	}
	if content, err = os.ReadFile(receipt.Path); err != nil || !strings.Contains(string(content), "Entonces mande al paciente.") {
		t.Errorf("no Spanish: %v", err)
	}
}

func TestCardsAddress(t *testing.T) {
	const generate = "users: generate\n"
	people, known := "username,password\nlidia,Kivota.mesu472\n", &localAccounts{People: map[string]*localAccount{"a": {Username: "lidia", Carried: true}}}
	for name, test := range map[string]struct {
		config, given, want, refused string
		nobody                       bool
	}{
		"the clinic's":         {config: cardsClinic, want: "http://bocas-1.clinic.lan"},
		"the clinic's port":    {config: generate + "clinic: {name: a, address: 10.0.0.1, port: 8080}\n", want: "http://a:8080"},
		"of their own server":  {config: generate + "local: {url: 'http://192.168.8.2:8080/dhis'}\n", want: "http://192.168.8.2:8080/dhis"},
		"this machine's own":   {config: generate + "local: {url: 'http://127.0.0.1:8080'}\n", refused: "no tablet reaches the kit"},
		"named by its name":    {config: generate + "local: {url: 'http://localhost'}\n", refused: "no tablet reaches the kit"},
		"said to be elsewhere": {config: generate + "local: {url: 'http://localhost'}\n", given: "http://192.168.8.2/", want: "http://192.168.8.2"},
		"no address":           {config: generate + "local: {url: 'http://localhost'}\n", given: "192.168.8.2", refused: "--address: not the address of a server"},
		"none known":           {config: generate, refused: "where tablets find the kit is not known"},
		"no passwords":         {config: "clinic: {name: a, address: 10.0.0.1}\n", refused: "nobody has a password on this kit"},
		"not prepared":         {config: cardsClinic, nobody: true, refused: "nobody can log in on this kit yet"},
	} {
		t.Run(name, func(t *testing.T) {
			carried := known
			if test.nobody {
				carried = newAccounts()
			}
			receipt, err := cardsKit(t, test.config, people, carried).Cards(CardsOptions{Address: test.given})
			switch {
			case test.refused != "":
				if err == nil || !strings.Contains(err.Error(), test.refused) || Hint(err) == "" {
					t.Errorf("got %v, hint %q", err, Hint(err))
				}
				if kind := map[bool]error{true: ErrNoSnapshot, false: ErrUsage}[test.nobody]; !errors.Is(err, kind) {
					t.Errorf("of another kind: %v", err)
				}
			case err != nil:
				t.Error(err)
			case receipt.Address != test.want:
				t.Errorf("got %s", receipt.Address)
			}
		})
	}
}

func TestCardTexts(t *testing.T) {
	english, err := cardTextsIn("en")
	if err != nil {
		t.Fatal(err)
	}
	spanish, err := cardTextsIn("es")
	if err != nil {
		t.Fatal(err)
	}
	for _, texts := range []*cardTexts{english, spanish} {
		for _, text := range []string{
			texts.Language, texts.Title, texts.Station, texts.Username, texts.Password, texts.OwnPassword, texts.Address, texts.Rule, texts.Keep, strings.Join(texts.Steps, ""),
		} {
			if text == "" {
				t.Errorf("%s lacks a text", texts.Language)
			}
		}
		if len(texts.Steps) != len(english.Steps) {
			t.Errorf("%s has other steps", texts.Language)
		}
	}
	for _, language := range []string{"fr", "../cardtexts/en", ""} {
		if _, err := cardTextsIn(language); err == nil {
			t.Errorf("there is %q", language)
		}
	}
}

// TestCode draws the code's path again, dot by dot.
func TestCode(t *testing.T) {
	const text = "http://bocas-1.clinic.lan:8080"
	drawn, err := codeOf(text)
	if err != nil {
		t.Fatal(err)
	}
	dark := map[[2]int]bool{}
	for _, run := range strings.Split(strings.TrimSuffix(drawn.Path, "z"), "z") {
		var x, y, width, back int
		if _, err := fmt.Sscanf(run, "M%d %dh%dv1h-%d", &x, &y, &width, &back); err != nil || width != back {
			t.Fatalf("%q: %v", run, err)
		}
		for ; width > 0; width-- {
			dark[[2]int{x + width - 1, y}] = true
		}
	}
	encoded, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	for y := range drawn.Size {
		for x := range drawn.Size {
			if dark[[2]int{x, y}] != encoded.Black(x-4, y-4) {
				t.Errorf("dot %d, %d is %v", x, y, dark[[2]int{x, y}])
			}
		}
	}
}

// TestCardsInABrowser prints the cards as people do: six on a sheet of A4, nothing cut off, nothing asked for.
func TestCardsInABrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("no browser, and CI does not do without; `make chromium` installs one")
		}
		t.Skip("NO BROWSER: nobody looked at the cards; `make chromium` installs one")
	}
	known, people := newAccounts(), "name,station,username,password\n"
	for i := range 13 {
		username := fmt.Sprintf("maria.fernanda.castillo%d", i)
		known.People[username] = &localAccount{Username: username, Carried: true}
		people += fmt.Sprintf("María Fernanda Castillo de la Espriella %d,Triaje y signos vitales,%s,Kivota.mesu472\n", i, username)
	}
	for _, language := range []string{"en", "es"} {
		kit := cardsKit(t, cardsClinic, people, known)
		receipt, err := kit.Cards(CardsOptions{Language: language})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(100*time.Second),
		)...)
		defer cancel()
		ctx, cancel = chromedp.NewContext(ctx)
		defer cancel()
		var mu sync.Mutex
		var asked []string
		err = errors.Join(chromedp.Listen(ctx, func(event any) {
			mu.Lock()
			defer mu.Unlock()
			if request, is := event.(*network.EventRequestWillBeSent); is {
				asked = append(asked, request.Request.URL)
			}
		}), chromedp.Do(ctx, chromedp.Navigate("file://"+receipt.Path)))
		if err != nil {
			t.Fatal(err)
		}
		const cutOff = `document.querySelectorAll("article").length + " cards, " + [...document.querySelectorAll("article")]
			.filter(a => a.scrollHeight > a.clientHeight || a.scrollWidth > a.clientWidth).length + " cut off"`
		shown, err := chromedp.Run(ctx, chromedp.Evaluate[string](cutOff))
		if err != nil {
			t.Fatal(err)
		}
		own := true
		pdf, err := chromedp.Call(ctx, page.PrintToPDF, page.PrintToPDFParams{PreferCSSPageSize: &own})
		if err != nil {
			t.Fatal(err)
		}
		if shown != "13 cards, 0 cut off" {
			t.Errorf("%s: %s", language, shown)
		}
		if sheets := strings.Count(string(pdf.Data), "/Type /Page\n"); sheets != 3 {
			t.Errorf("%s: %d sheets", language, sheets)
		}
		mu.Lock()
		if len(asked) != 1 {
			t.Errorf("%s: the page asks for %v", language, asked)
		}
		mu.Unlock()
		if dir := os.Getenv("FIELDKIT_KEEP_CARDS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, language+".pdf"), pdf.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}
