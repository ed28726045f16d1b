package orchestrator

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"rsc.io/qr"
)

// CardsFile is where the login cards are written, within the kit's directory.
const CardsFile = "cards.html"

// CardsOptions say how login cards are made.
type CardsOptions struct {
	// Language is "en" or "es"; English when empty.
	Language string
	// Address is what tablets connect to, as in http://192.168.8.2:8080; "" for what fieldkit.yaml says.
	Address string
}

// CardsReceipt says what was made.
type CardsReceipt struct {
	Path    string `json:"path"`
	Cards   int    `json:"cards"`
	Address string `json:"address"`
	// Own are the usernames of those whose card has no password, for they have one of their own.
	Own []string `json:"own,omitempty"`
	// Changed are the usernames of those who have no card: their password in the people file is not the one that
	// prepare gave them.
	Changed []string `json:"changed,omitempty"`
}

// Cards writes one card for everybody whom the last prepare let log in: one HTML page of the owner alone, that
// needs no other file, to be printed and cut. It asks no server. The error is an ErrUsage where fieldkit.yaml
// gives nobody a password or no address that tablets could use, and ErrNoSnapshot before the first prepare.
// Called again, it replaces the page.
func (k *Kit) Cards(options CardsOptions) (*CardsReceipt, error) {
	people, err := k.readPeople()
	if err != nil {
		return nil, err
	}
	if people == nil {
		return nil, WithHint(usagef("nobody has a password on this kit"),
			"write `users: generate` into %s and run `fieldkit prepare` again", ConfigFile)
	}
	texts, err := cardTextsIn(cmp.Or(options.Language, "en"))
	if err != nil {
		return nil, err
	}
	address, err := k.clinicAddress(options.Address)
	if err != nil {
		return nil, err
	}
	known, err := k.readAccounts()
	if err != nil {
		return nil, err
	}
	cards, changed := cardsOf(people, known)
	page := cardPage{Kit: k.config.Name, Address: address, Texts: texts, Cards: cards}
	if len(cards)+len(changed) == 0 {
		return nil, WithHint(fmt.Errorf("%w: nobody can log in on this kit yet", ErrNoSnapshot), "`fieldkit prepare` lets people in")
	}
	if page.Code, err = codeOf(address); err != nil {
		return nil, err
	}
	receipt := &CardsReceipt{Path: filepath.Join(k.dir, CardsFile), Cards: len(cards), Address: address, Changed: changed}
	for _, one := range cards {
		if one.Password == "" {
			receipt.Own = append(receipt.Own, one.Username)
		}
	}
	var content bytes.Buffer
	if err := page.write(&content); err != nil {
		return nil, fmt.Errorf("cannot make the cards: %w", err)
	}
	return receipt, renameio.WriteFile(receipt.Path, content.Bytes(), 0o600, renameio.IgnoreUmask())
}

// clinicAddress is what tablets connect to.
func (k *Kit) clinicAddress(given string) (string, error) {
	hint := fmt.Sprintf("--address URL names it, as in http://192.168.8.2:8080, or clinic in %s", ConfigFile)
	if given != "" {
		if err := checkServerURL(given); err != nil {
			return "", WithHint(usagef("--address: %v", err), "%s", hint)
		}
		return strings.TrimRight(given, "/"), nil
	}
	if clinic := k.config.Clinic; clinic != nil {
		address := url.URL{Scheme: "http", Host: clinic.Name}
		if clinic.Port != defaultPort {
			address.Host += ":" + strconv.Itoa(int(clinic.Port))
		}
		return address.String(), nil
	}
	if k.config.Local == nil {
		return "", WithHint(usagef("where tablets find the kit is not known yet"), "%s", hint)
	}
	u, err := url.Parse(k.config.Local.URL)
	if err != nil {
		return "", err
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "localhost" || (err == nil && ip.IsLoopback()) {
		return "", WithHint(usagef("no tablet reaches the kit at %s, which is this machine's own", k.config.Local.URL), "%s", hint)
	}
	return k.config.Local.URL, nil
}

// card is what one person is handed.
type card struct {
	Name, Station, Username string
	// Password is "" for who has one of his own.
	Password string
}

// cardsOf are the cards of those who can log in, by station and name, and the usernames of those who cannot
// with what the file says now. What stands in the people file goes before what central says.
func cardsOf(people *roster, known *localAccounts) (cards []card, changed []string) {
	for _, one := range known.People {
		entry, listed := people.find(one.Username)
		if !one.Carried || !listed {
			continue
		}
		if one.Seal != "" && !opensSeal(one.Seal, entry.Password) {
			changed = append(changed, one.Username)
			continue
		}
		made := card{
			Name: cmp.Or(entry.Name, one.Name, one.Username), Station: cmp.Or(entry.Station, one.Station), Username: one.Username, Password: entry.Password,
		}
		if one.Own {
			made.Password = ""
		}
		cards = append(cards, made)
	}
	slices.Sort(changed)
	slices.SortFunc(cards, func(a, b card) int {
		return cmp.Or(strings.Compare(a.Station, b.Station), strings.Compare(a.Name, b.Name), strings.Compare(a.Username, b.Username))
	})
	return cards, changed
}

//go:embed cards.html.tmpl cardtexts
var cardFiles embed.FS //nolint:gochecknoglobals // embedded files

// cardTexts are the cards' texts in one language.
type cardTexts struct {
	Language, Title, Station, Username, Password, OwnPassword, Address, Rule, Keep string
	Steps                                                                          []string
}

func cardTextsIn(language string) (*cardTexts, error) {
	content, err := cardFiles.ReadFile("cardtexts/" + language + ".json")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, WithHint(usagef("there are no cards in the language %q", language), "en or es")
	}
	if err != nil {
		return nil, err
	}
	texts := &cardTexts{}
	if err := json.Unmarshal(content, texts); err != nil {
		return nil, fmt.Errorf("the cards' texts in the language %q: %w", language, err)
	}
	return texts, nil
}

// cardPage is what the template sees.
type cardPage struct {
	Kit, Address string
	Texts        *cardTexts
	Code         code
	Cards        []card
}

func (p cardPage) write(w *bytes.Buffer) error {
	page, err := template.ParseFS(cardFiles, "cards.html.tmpl")
	if err != nil {
		return err
	}
	return page.Execute(w, p)
}

// code is a QR code to be drawn: Path covers its dark parts on a square of Size units, the quiet zone included.
type code struct {
	Size int
	Path string
}

func codeOf(text string) (code, error) {
	const quiet = 4 // units, of ISO 18004
	encoded, err := qr.Encode(text, qr.M)
	if err != nil {
		return code{}, fmt.Errorf("no QR code of %s: %w", text, err)
	}
	var path strings.Builder
	for y := range encoded.Size {
		for x := 0; x < encoded.Size; x++ {
			begin := x
			for encoded.Black(x, y) {
				x++
			}
			if x > begin {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", begin+quiet, y+quiet, x-begin, x-begin)
			}
		}
	}
	return code{Size: encoded.Size + 2*quiet, Path: path.String()}, nil
}
