package dhis2sim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// jsonWriter writes tracker objects as JSON without making values of them first: a page of tracked entities
// has tens of thousands of fields.
type jsonWriter struct {
	buf  []byte
	zone *time.Location
	// standard is the zone's offset of today, nil on versions that show every time as it is stored.
	standard *time.Location
	last     instant // of which lastText is the text: most times of a page come in runs
	text     []byte
}

func (s *Server) newJSONWriter() *jsonWriter {
	j := &jsonWriter{zone: s.options.Zone, last: none}
	if s.minor >= 43 {
		at := s.now().In(j.zone)
		if at.IsDST() {
			at = at.AddDate(0, 6, 0)
		}
		_, offset := at.Zone()
		j.standard = time.FixedZone("", offset)
	}
	return j
}

// send answers with what was written.
func (j *jsonWriter) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_, _ = w.Write(j.buf) // an answer is written to memory
}

// value writes any value.
func (j *jsonWriter) value(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte("null")
	}
	j.buf = append(j.buf, b...)
}

// quote writes a string.
func (j *jsonWriter) quote(s string) {
	j.buf = append(j.buf, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		j.buf = append(j.buf, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			j.buf = append(j.buf, '\\', c)
		case '\n':
			j.buf = append(j.buf, '\\', 'n')
		case '\r':
			j.buf = append(j.buf, '\\', 'r')
		case '\t':
			j.buf = append(j.buf, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			j.buf = append(j.buf, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	j.buf = append(j.buf, s[start:]...)
	j.buf = append(j.buf, '"')
}

// time writes an instant as the API does: local time without a zone, in milliseconds.
func (j *jsonWriter) time(at instant) {
	if at != j.last {
		j.last, j.text = at, j.shown(at.time()).In(j.zone).AppendFormat(j.text[:0], "\"2006-01-02T15:04:05.000\"")
	}
	j.buf = append(j.buf, j.text...)
}

// shown is the time that is shown for one that is stored. DHIS2 2.43 stores by a calendar of Java's that, before 1900,
// takes the zone's standard offset of today, and shows by one that knows better (observed on 2.43.1).
func (j *jsonWriter) shown(at time.Time) time.Time {
	if j.standard == nil {
		return at
	}
	wall := at.In(j.zone)
	stored := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), j.standard)
	if stored.Unix() < -2208988800 { // 1900-01-01T00:00:00Z
		return stored
	}
	return at
}

// objectWriter writes one JSON object as a field filter shows it. What is absent is left out, as DHIS2
// leaves out nulls.
type objectWriter struct {
	*jsonWriter
	filter     *fieldFilter
	everything bool // the filter shows all fields that it does not exclude
	begun      bool
}

func (j *jsonWriter) object(filter *fieldFilter) objectWriter {
	j.buf = append(j.buf, '{')
	everything := filter == nil || slices.Contains(filter.presets, "all")
	return objectWriter{jsonWriter: j, filter: filter, everything: everything}
}

func (o *objectWriter) end() { o.buf = append(o.buf, '}') }

// field begins a field if the filter shows it; below is the filter of what is in it.
func (o *objectWriter) field(name string) (below *fieldFilter, shown bool) {
	if o.filter != nil {
		var named bool
		below, named = o.filter.named[name]
		if below != nil && len(below.presets) == 0 && len(below.named) == 0 && len(below.exclude) > 0 {
			below = &fieldFilter{presets: []string{"all"}, exclude: below.exclude} // a[!b] is all of a but b
		}
		if !named && !o.everything || o.filter.exclude[name] {
			return nil, false
		}
		name = o.filter.shownAs(name)
	}
	if o.begun {
		o.buf = append(o.buf, ',')
	}
	o.begun = true
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, '"', ':')
	return below, true
}

// sized writes the size of a field instead of the field where the filter asks for that.
func (o *objectWriter) sized(name string, size int) bool {
	if o.filter == nil || !o.filter.size[name] {
		return false
	}
	o.buf = strconv.AppendInt(o.buf, int64(size), 10)
	return true
}

// string writes a text, nothing when it is empty.
func (o *objectWriter) string(name, value string) {
	if value == "" {
		return
	}
	if _, ok := o.field(name); ok && !o.sized(name, utf8.RuneCountInString(value)) {
		o.quote(value)
	}
}

func (o *objectWriter) flag(name string, value bool) {
	if _, ok := o.field(name); ok {
		o.buf = strconv.AppendBool(o.buf, value)
	}
}

// instant writes a time, nothing when it is not set.
func (o *objectWriter) instant(name string, at instant) {
	if !at.set() {
		return
	}
	if _, ok := o.field(name); ok {
		o.time(at)
	}
}

// raw writes JSON as it is, nothing when there is none. A filter below is not applied.
func (o *objectWriter) raw(name, value string) {
	if value == "" {
		return
	}
	if _, ok := o.field(name); ok {
		o.buf = append(o.buf, value...)
	}
}

// person writes what is kept of a user.
func (o *objectWriter) person(name string, p *person, displayName bool) {
	if p == nil {
		return
	}
	below, ok := o.field(name)
	if !ok {
		return
	}
	in := o.object(below)
	in.string("uid", p.uid)
	in.string("username", p.username)
	in.string("firstName", p.firstName)
	in.string("surname", p.surname)
	if displayName {
		in.string("displayName", p.firstName+" "+p.surname)
	}
	in.end()
}

// each writes a list: write is called for each of n items, with the filter for it, and says whether it wrote
// the item.
func (o *objectWriter) each(name string, n int, write func(i int, below *fieldFilter) bool) {
	below, ok := o.field(name)
	if !ok {
		return
	}
	if o.filter != nil && o.filter.size[name] {
		kept, count := len(o.buf), 0
		for i := range n {
			if write(i, below) {
				count++
			}
		}
		o.buf = strconv.AppendInt(o.buf[:kept], int64(count), 10)
		return
	}
	o.buf = append(o.buf, '[')
	first := true
	for i := range n {
		mark := len(o.buf)
		if !first {
			o.buf = append(o.buf, ',')
		}
		if write(i, below) {
			first = false
		} else {
			o.buf = o.buf[:mark]
		}
	}
	o.buf = append(o.buf, ']')
}
