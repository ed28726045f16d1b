package dhis2sim

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// refusal is an error as the API shows it.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.message }

// badRequest is a request that contradicts itself or names what is not there.
func badRequest(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "E1003", fmt.Sprintf(format, args...)}
}

// malformed is a parameter that is not of its type.
func malformed(name, value, want string) *refusal {
	return &refusal{http.StatusBadRequest, "", fmt.Sprintf("Value '%s' is not valid for parameter %s. It should be %s", value, name, want)}
}

func forbidden(format string, args ...any) *refusal {
	return &refusal{http.StatusForbidden, "E1006", fmt.Sprintf(format, args...)}
}

// illegalQuery is a search that its program or tracked entity type does not allow.
func illegalQuery(format string, args ...any) *refusal {
	return &refusal{http.StatusConflict, "", fmt.Sprintf(format, args...)}
}

// notThere is an object that does not exist, is deleted, or is hidden from the caller.
func notThere(k kind, uid string) *refusal {
	name := k.fieldName()
	return &refusal{http.StatusNotFound, "E1005", fmt.Sprintf("%s%s with id %s could not be found.", strings.ToUpper(name[:1]), name[1:], uid)}
}

func refuse(w http.ResponseWriter, r *refusal) { writeError(w, r.status, r.code, r.message) }

// trackerQuery reads the parameters of a request for tracker data. The first that is wrong sticks in refused,
// and what is read after that means nothing.
type trackerQuery struct {
	url.Values
	access
	request *http.Request
	minor   int
	refused *refusal
}

func (s *Server) trackerQuery(r *http.Request, caller *account) *trackerQuery {
	// A semicolon separates values of old parameters; Go's parser would drop what has one.
	values, _ := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	return &trackerQuery{Values: values, access: s.access(s.newCatalog(caller)), request: r, minor: s.minor}
}

func (q *trackerQuery) refuse(r *refusal) {
	if q.refused == nil {
		q.refused = r
	}
}

// renamed is a parameter that 2.41 takes under an older name too; both at once are refused. Later versions
// do not know the old name.
func (q *trackerQuery) renamed(name, old string) string {
	value := q.Get(name)
	if q.minor > 41 || old == "" || q.Get(old) == "" {
		return value
	}
	if value != "" {
		q.refuse(badRequest("Only one parameter of '%s' and '%s' must be specified.", old, name))
	}
	return strings.ReplaceAll(q.Get(old), ";", ",")
}

// uid reads one uid.
func (q *trackerQuery) uid(name, old string) string {
	value := q.renamed(name, old)
	if value != "" && !isUID(value) {
		q.refuse(malformed(name, value, "a uid"))
	}
	return value
}

// uids reads a list of uids.
func (q *trackerQuery) uids(name, old string) []string {
	var out []string
	for _, uid := range strings.Split(q.renamed(name, old), ",") {
		if uid == "" {
			continue
		}
		if !isUID(uid) {
			q.refuse(malformed(name, uid, "a list of uids"))
		}
		out = append(out, uid)
	}
	return out
}

// choice reads one of the values that a parameter may have.
func (q *trackerQuery) choice(name, old string, values ...string) string {
	value := q.renamed(name, old)
	if value != "" && !slices.Contains(values, value) {
		q.refuse(malformed(name, value, "one of "+strings.Join(values, ", ")))
	}
	return value
}

// flag reads a boolean, nil where it is not given.
func (q *trackerQuery) flag(name string) *bool {
	value := q.Get(name)
	if value == "" {
		return nil
	}
	switch strings.ToLower(value) {
	case "true", "yes", "on", "1":
		yes := true
		return &yes
	case "false", "no", "off", "0":
		no := false
		return &no
	}
	q.refuse(malformed(name, value, "true or false"))
	return nil
}

func (q *trackerQuery) isSet(name string) bool {
	value := q.flag(name)
	return value != nil && *value
}

// number reads a whole number.
func (q *trackerQuery) number(name string, otherwise int) int {
	value := q.Get(name)
	if value == "" {
		return otherwise
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		q.refuse(malformed(name, value, "a number"))
	}
	return n
}

// time reads the start or the end of a span; the end of a mere date is the end of that day.
func (q *trackerQuery) time(name string, isEnd bool) instant {
	value := q.Get(name)
	if value == "" {
		return none
	}
	at, ok := parseTime(value, q.server.options.Zone)
	if !ok {
		q.refuse(malformed(name, value, "a date and time"))
	}
	if isEnd && len(value) == len(time.DateOnly) {
		at = instant(at.time().In(q.server.options.Zone).AddDate(0, 0, 1).Add(-time.Millisecond).UnixMilli())
	}
	return at
}

// span is a time from after to before, both included, either may be open.
type span struct{ after, before instant }

// anyTime is the span without an end on either side.
func anyTime() span { return span{none, none} }

func (q *trackerQuery) span(after, before string) span {
	s := span{q.time(after, false), none}
	if before != "" {
		s.before = q.time(before, true)
	}
	return s
}

func (s span) given() bool { return s.after.set() || s.before.set() }

func (s span) has(at instant) bool {
	if !s.given() {
		return true
	}
	return at.set() && (!s.after.set() || at >= s.after) && (!s.before.set() || at <= s.before)
}

// updated reads the span in which an object must have changed.
func (q *trackerQuery) updated(before string) span {
	s := q.span("updatedAfter", before)
	within := q.Get("updatedWithin")
	if within == "" {
		return s
	}
	if s.given() {
		q.refuse(badRequest("Last updated from and/or to and last updated duration cannot be specified simultaneously"))
		return s
	}
	units := map[byte]time.Duration{'d': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}
	n, err := strconv.Atoi(within[:len(within)-1])
	unit := units[within[len(within)-1]]
	if err != nil || n < 0 || unit == 0 {
		q.refuse(badRequest("Duration is not valid: %s", within))
		return s
	}
	return span{q.now - instant((time.Duration(n) * unit).Milliseconds()), none}
}

// paging says which part of a list is asked for.
type paging struct {
	page, size  int
	off, totals bool
}

func (q *trackerQuery) paging() paging {
	p := paging{page: 1, size: 50, totals: q.isSet("totalPages")}
	on := q.flag("paging")
	p.off = on != nil && !*on
	if q.minor == 41 && q.isSet("skipPaging") {
		p.off = true
	}
	p.page, p.size = q.number("page", 1), q.number("pageSize", 50)
	switch {
	case p.off && (q.Get("page") != "" || q.Get("pageSize") != "" || p.totals):
		q.refuse(badRequest("Paging can either be enabled or disabled. Prefer 'paging' as 'skipPaging' is deprecated."))
	case p.page < 1:
		q.refuse(badRequest("page must be greater than or equal to 1 if specified"))
	case p.size < 1:
		q.refuse(badRequest("pageSize must be greater than or equal to 1 if specified"))
	}
	return p
}

// part is a page of what was found.
type part[T any] struct {
	items []T
	more  bool // there are pages after this one
	total int  // of all pages, where they were asked for
}

// take collects a page of what matches, in the order in which all come. It stops as soon as it can.
func take[T any](all func(yield func(T) bool), matches func(T) bool, p paging, most int) part[T] {
	var out part[T]
	skip := (p.page - 1) * p.size
	if p.off {
		skip, p.size = 0, most
	}
	for item := range all {
		if !matches(item) {
			continue
		}
		out.total++
		switch {
		case out.total <= skip:
		case len(out.items) < p.size || p.size == 0:
			out.items = append(out.items, item)
		case p.totals:
			out.more = true
		default:
			out.more = true
			return out
		}
	}
	return out
}

// writeList writes the envelope of a list: the pager in the form of the version, then the items.
func (q *trackerQuery) writeList(w http.ResponseWriter, v *trackerView, name string, p paging, more bool, total int, items func(i int) bool, n int) {
	o := v.object(nil)
	if !p.off {
		pager := object{"page": p.page, "pageSize": p.size}
		if p.totals {
			pager["total"], pager["pageCount"] = total, (total+max(p.size, 1)-1)/max(p.size, 1)
		}
		if q.minor > 41 {
			if p.page > 1 {
				pager["prevPage"] = q.pageURL(p.page - 1)
			}
			if more {
				pager["nextPage"] = q.pageURL(p.page + 1)
			}
		}
		o.field("pager")
		v.value(pager)
		if q.minor == 41 {
			for _, name := range []string{"page", "pageSize", "total", "pageCount"} {
				if value, ok := pager[name]; ok {
					o.field(name)
					v.value(value)
				}
			}
		}
	}
	o.each(name, n, func(i int, _ *fieldFilter) bool { return items(i) })
	o.end()
	v.send(w)
}

// pageURL is the address of another page.
func (q *trackerQuery) pageURL(page int) string {
	query := q.request.URL.Query()
	query.Set("page", strconv.Itoa(page))
	return baseURL(q.request) + q.request.URL.Path + "?" + query.Encode()
}

// orderTerm is one field to order by: a field of the object, or the uid of an attribute or data element.
type orderTerm struct {
	field      string
	descending bool
}

// order reads the order parameter. known are the fields of the object; uids may be ordered by when withUIDs
// is set.
func (q *trackerQuery) order(known string, withUIDs bool) []orderTerm {
	var out []orderTerm
	seen := map[string]bool{}
	for _, term := range strings.Split(strings.Join(q.Values["order"], ","), ",") {
		if strings.TrimSpace(term) == "" {
			continue
		}
		field, direction, _ := strings.Cut(strings.TrimSpace(term), ":")
		direction = strings.ToLower(direction)
		switch {
		case direction != "" && direction != "asc" && direction != "desc":
			q.refuse(malformed("order", term, "a field and asc or desc"))
		case seen[field]:
			q.refuse(badRequest("order parameter contains the field '%s' more than once", field))
		case !slices.Contains(strings.Fields(known), field) && !(withUIDs && isUID(field)):
			q.refuse(badRequest("order parameter is invalid. Cannot order by '%s'", field))
		}
		seen[field] = true
		out = append(out, orderTerm{field, direction == "desc"})
	}
	return out
}

// sortKey is what an object is ordered by; an absent value comes after all others, as in PostgreSQL.
type sortKey struct {
	absent bool
	number int64
	text   string
}

func timeKey(at instant) sortKey { return sortKey{absent: !at.set(), number: int64(at)} }
func textKey(s string) sortKey   { return sortKey{absent: s == "", text: s} }
func flagKey(b bool) sortKey {
	if b {
		return sortKey{number: 1}
	}
	return sortKey{}
}

func (k sortKey) compare(other sortKey) int {
	switch {
	case k.absent && other.absent:
		return 0
	case k.absent:
		return 1
	case other.absent:
		return -1
	}
	return cmp.Or(cmp.Compare(k.number, other.number), strings.Compare(k.text, other.text))
}

// sorted is what matches in an order; number settles ties, the newest first.
func sorted[T any](all func(yield func(T) bool), matches func(T) bool, order []orderTerm, key func(T, string) sortKey, number func(T) int64) func(yield func(T) bool) {
	type keyed struct {
		item T
		keys []sortKey
	}
	var found []keyed
	for item := range all {
		if matches(item) {
			k := keyed{item: item}
			for _, term := range order {
				k.keys = append(k.keys, key(item, term.field))
			}
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b keyed) int {
		for i, term := range order {
			c := a.keys[i].compare(b.keys[i])
			if term.descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(number(b.item), number(a.item))
	})
	return func(yield func(T) bool) {
		for _, k := range found {
			if !yield(k.item) {
				return
			}
		}
	}
}

// newestFirst is DHIS2's own order: by number, downwards.
func newestFirst[T any](list []T) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for i := len(list) - 1; i >= 0; i-- {
			if !yield(list[i]) {
				return
			}
		}
	}
}

// oldestFirst is a list that is ordered by number in the order of creation times: times grow with numbers,
// and among equal times the newest number comes first.
func oldestFirst[T any](list []T, created func(T) instant) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for i := 0; i < len(list); {
			end := i + 1
			for end < len(list) && created(list[end]) == created(list[i]) {
				end++
			}
			for at := end - 1; at >= i; at-- {
				if !yield(list[at]) {
					return
				}
			}
			i = end
		}
	}
}
