package dhis2sim

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Generated attribute values: a pattern such as "FD-"+ORG_UNIT_CODE(...)+"-"+SEQUENTIAL(######) is a sum of
// texts and methods.

// segment is one summand of a pattern: a text, or a method with its format.
type segment struct{ text, method, format string }

var segmentForm = regexp.MustCompile(`^\s*(?:"((?:[^"\\]|\\.)*)"|([A-Z_]+)\(([^)]*)\))\s*(\+|$)`)

// parsePattern splits a pattern into its segments; false when it is none.
func parsePattern(pattern string) ([]segment, bool) {
	var segments []segment
	for pattern != "" {
		found := segmentForm.FindStringSubmatch(pattern)
		if found == nil {
			return nil, false
		}
		segments = append(segments, segment{strings.ReplaceAll(found[1], `\"`, `"`), found[2], found[3]})
		pattern = pattern[len(found[0]):]
	}
	return segments, len(segments) > 0
}

func (s *Server) reservedValueRoutes() {
	const attribute = "/api/trackedEntityAttributes/{uid}/"
	s.handle("GET "+attribute+"requiredValues", s.requiredValues)
	s.handleExclusive("GET "+attribute+"generate", func(w http.ResponseWriter, r *http.Request, _ *account) {
		s.generate(w, r, 1, 3, func(values []object) any { return values[0] })
	})
	s.handleExclusive("GET "+attribute+"generateAndReserve", func(w http.ResponseWriter, r *http.Request, _ *account) {
		n, err := strconv.Atoi(r.URL.Query().Get("numberToReserve"))
		if r.URL.Query().Get("numberToReserve") == "" {
			n, err = 1, nil
		}
		if err != nil {
			n = 0
		}
		s.generate(w, r, n, 60, func(values []object) any { return values })
	})
}

// patternOf is the pattern of the attribute that the path names, or nil after an error was answered.
func (s *Server) patternOf(w http.ResponseWriter, r *http.Request) []segment {
	uid := r.PathValue("uid")
	attribute := s.object("trackedEntityAttributes", uid)
	if attribute == nil {
		notFound(w, "trackedEntityAttributes", uid)
		return nil
	}
	segments, ok := parsePattern(text(attribute["pattern"]))
	if !ok || attribute["generated"] != true {
		writeError(w, http.StatusBadRequest, "", "Attribute "+uid+" does not have a pattern.")
		return nil
	}
	return segments
}

func (s *Server) requiredValues(w http.ResponseWriter, r *http.Request, _ *account) {
	segments := s.patternOf(w, r)
	if segments == nil {
		return
	}
	required, optional := []string{}, []string{}
	for _, segment := range segments {
		switch segment.method {
		case "ORG_UNIT_CODE":
			required = append(required, segment.method)
		case "SEQUENTIAL", "RANDOM":
			optional = append(optional, segment.method)
		}
	}
	writeJSON(w, http.StatusOK, object{"REQUIRED": required, "OPTIONAL": optional})
}

// generate answers with n fresh values, reserved for some days.
func (s *Server) generate(w http.ResponseWriter, r *http.Request, n, days int, answer func([]object) any) {
	segments := s.patternOf(w, r)
	if segments == nil {
		return
	}
	const atOnce = 1000
	if n < 1 || n > atOnce {
		writeError(w, http.StatusBadRequest, "", "You can only reserve between 1 and 1000 values in a single request.")
		return
	}
	if given, err := strconv.Atoi(r.URL.Query().Get("expiration")); err == nil {
		days = given
	}
	now := s.now()
	values := []object{}
	for range n {
		key, value, err := s.nextValue(r.PathValue("uid"), segments, r.URL.Query(), now)
		if err != nil {
			status := http.StatusConflict
			if errors.Is(err, errMisfit) {
				status = http.StatusInternalServerError
			}
			writeError(w, status, "", err.Error())
			return
		}
		expires := now.AddDate(0, 0, days)
		s.changed.note(countersCollection)
		if randomly(segments) {
			s.reserved[r.PathValue("uid")+" "+value] = reservation{key, now, expires}
			s.changed.note(reservedCollection)
		}
		values = append(values, object{
			"ownerObject": "TRACKEDENTITYATTRIBUTE", "ownerUid": r.PathValue("uid"), "key": key, "value": value,
			"created": s.timestamp(now), "expiryDate": s.timestamp(expires),
		})
	}
	writeJSON(w, http.StatusOK, answer(values))
}

// reservation is what is kept of a reserved value. Only random ones are reserved: a counter gives no number twice.
type reservation struct {
	key              string
	created, expires time.Time
}

// randomly tells whether a pattern's values are random.
func randomly(segments []segment) bool {
	return slices.ContainsFunc(segments, func(s segment) bool { return s.method == "RANDOM" })
}

// nextValue makes a value that was not given out before. The key is the pattern with everything filled in but
// what differs from value to value; each key counts by itself.
func (s *Server) nextValue(attribute string, segments []segment, parameters url.Values, now time.Time) (key, value string, err error) {
	filled := make([]string, len(segments))
	for i, segment := range segments {
		switch segment.method {
		case "":
			filled[i] = segment.text
		case "ORG_UNIT_CODE":
			if filled[i], err = cutTo(segment.format, parameters.Get("ORG_UNIT_CODE")); err != nil {
				return "", "", err
			}
		case "CURRENT_DATE":
			filled[i] = javaDate(segment.format, now)
		default:
			filled[i] = segment.method + "(" + segment.format + ")"
		}
	}
	key = strings.Join(filled, "")
	const attempts = 100
	for range attempts {
		for i, segment := range segments {
			switch segment.method {
			case "SEQUENTIAL":
				s.counters[attribute+" "+key]++
				filled[i] = fmt.Sprintf("%0*d", len(segment.format), s.counters[attribute+" "+key])
				if len(filled[i]) > len(segment.format) {
					return "", "", errors.New("Unable to reserve value, no new values available.") //nolint:staticcheck // DHIS2's own words
				}
			case "RANDOM":
				filled[i] = random(segment.format)
			}
		}
		value = strings.Join(filled, "")
		if _, taken := s.reserved[attribute+" "+value]; !taken && len(s.tracker.holders(attribute, value)) == 0 {
			return key, value, nil
		}
	}
	return "", "", errors.New("Unable to reserve value, no new values available.") //nolint:staticcheck // DHIS2's own words
}

// errMisfit is a code that does not go with its pattern.
var errMisfit = errors.New("Value is invalid") //nolint:staticcheck // DHIS2's own words

// cutTo cuts a given value to a format: "..." its first three characters, "^..." likewise. DHIS2 matches from the
// beginning, so "...$" takes values of three characters and no others.
func cutTo(format, value string) (string, error) {
	length, letters := strings.Count(format, "."), []rune(value)
	switch {
	case value == "":
		return "", errors.New("Missing required values: ORG_UNIT_CODE") //nolint:staticcheck // DHIS2's own words
	case length == 0:
		return value, nil
	case len(letters) < length, strings.HasSuffix(format, "$") && len(letters) > length:
		return "", fmt.Errorf("%w: ORG_UNIT_CODE -> %s", errMisfit, value)
	}
	return string(letters[:length]), nil
}

// javaDate writes a date by a Java pattern.
func javaDate(format string, at time.Time) string {
	replaced := strings.NewReplacer("yyyy", "2006", "yy", "06", "MM", "01", "dd", "02", "HH", "15", "mm", "04", "ss", "05").Replace(format)
	_, week := at.ISOWeek()
	return strings.ReplaceAll(at.Format(replaced), "ww", fmt.Sprintf("%02d", week))
}

// random fills a format: # a digit, X a capital, x a small letter, * any of them.
func random(format string) string {
	const digits, capitals, small = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
	from := map[rune]string{'#': digits, 'X': capitals, 'x': small, '*': digits + capitals + small}
	var out strings.Builder
	for _, r := range format {
		letters := from[r]
		if letters == "" {
			continue
		}
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(letters)))) // never fails
		out.WriteByte(letters[n.Int64()])
	}
	return out.String()
}
