package dhis2sim

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query finds objects: the `filter`, `rootJunction`, `query`, `order` and paging parameters of a list.
type query struct {
	viewer
	class string
	url.Values
}

// find returns the objects that the caller may read and that match, in order.
func (q query) find(caller *account) ([]object, error) {
	conditions, err := parseConditions(q.Values["filter"])
	if err != nil {
		return nil, err
	}
	for _, c := range conditions {
		if property, _, _ := strings.Cut(c.property, "."); !q.knows(property) {
			return nil, fmt.Errorf("Unknown path property: %s", c.property) //nolint:staticcheck // DHIS2's own words
		}
	}
	either := q.Get("rootJunction") == "OR"
	var found []object
	for _, o := range q.objects(q.class) {
		if !q.mayRead(caller, o) || q.withoutDefaults && isDefault(q.class, o) {
			continue
		}
		if words := q.Get("query"); words != "" && !q.identified(o, words) {
			continue
		}
		if q.matches(o, conditions, either) {
			found = append(found, o)
		}
	}
	slices.SortStableFunc(found, q.compare)
	return found, nil
}

// condition is one `property:operator:value`.
type condition struct{ property, operator, value string }

func parseConditions(filters []string) ([]condition, error) {
	var out []condition
	for _, filter := range filters {
		split := strings.SplitN(filter, ":", 3)
		if len(split) < 2 {
			return nil, fmt.Errorf("Invalid filter: %s", filter) //nolint:staticcheck // DHIS2's own words
		}
		c := condition{property: split[0], operator: split[1]}
		if len(split) == 3 {
			c.value = split[2]
		}
		if !c.known() {
			return nil, fmt.Errorf("Unknown operator: %s", c.operator) //nolint:staticcheck // DHIS2's own words
		}
		out = append(out, c)
	}
	return out, nil
}

// optional are properties that objects may have and need not.
var optional = fields(`identifiable id name code created lastUpdated lastUpdatedBy createdBy user sharing attributeValues translations description shortName formName
style geometry url comment email phoneNumber contactPerson address openingDate closedDate startDate endDate sortOrder optionSet dataEntryForm
expression condition content data priority decimals factor userCredentials username firstName surname disabled lastLogin path level domain`)

// knows tells whether a property exists, as far as that can be told without DHIS2's own schema.
func (q query) knows(property string) bool {
	if optional[property] || computed[property] || inverses[q.class][property] != (inverse{}) || referredClass(q.class, property) != "" ||
		literal(classes[q.class].defaults)[property] != nil || fields(classes[q.class].required)[property] {
		return true
	}
	return slices.ContainsFunc(q.objects(q.class), func(o object) bool { return o[property] != nil })
}

func (q query) matches(o object, conditions []condition, either bool) bool {
	if len(conditions) == 0 {
		return true
	}
	for _, c := range conditions {
		matched := c.property == "identifiable" && q.identified(o, c.value)
		if c.property != "identifiable" {
			matched = c.holds(q.valuesAt(q.class, o, strings.Split(c.property, ".")))
		}
		if matched == either {
			return either
		}
	}
	return !either
}

// identified tells whether a name, a code or an id has the text in it.
func (q query) identified(o object, words string) bool {
	words = strings.ToLower(words)
	return strings.Contains(strings.ToLower(text(q.property(q.class, o, "name"))), words) ||
		strings.Contains(strings.ToLower(text(o["code"])), words) || text(o["id"]) == words || strings.EqualFold(text(o["username"]), words)
}

// valuesAt are the values at a path like "programStages.dataElements.id", several where a list lies on it.
func (q query) valuesAt(class string, o object, path []string) []any {
	value := q.property(class, o, path[0])
	if path[0] == "id" && value == nil {
		value = o["uid"]
	}
	values := []any{value}
	if items, ok := value.([]any); ok {
		values = items
	}
	if len(path) == 1 {
		return values
	}
	var out []any
	for _, v := range values {
		inner, ok := v.(object)
		if !ok {
			continue
		}
		target := referredClass(class, path[0])
		if referred := q.Server.object(target, text(inner["id"])); referred != nil {
			inner = referred
		} else {
			target = ""
		}
		out = append(out, q.valuesAt(target, inner, path[1:])...)
	}
	return out
}

// operators are the comparisons of a filter; "!" in front of one negates it.
var operators = map[string]func(value, with string) bool{
	"eq":     func(v, w string) bool { return v == w },
	"ieq":    strings.EqualFold,
	"gt":     func(v, w string) bool { return compareTexts(v, w) > 0 },
	"ge":     func(v, w string) bool { return compareTexts(v, w) >= 0 },
	"lt":     func(v, w string) bool { return compareTexts(v, w) < 0 },
	"le":     func(v, w string) bool { return compareTexts(v, w) <= 0 },
	"like":   strings.Contains,
	"$like":  strings.HasPrefix,
	"like$":  strings.HasSuffix,
	"ilike":  func(v, w string) bool { return strings.Contains(strings.ToLower(v), strings.ToLower(w)) },
	"$ilike": func(v, w string) bool { return strings.HasPrefix(strings.ToLower(v), strings.ToLower(w)) },
	"ilike$": func(v, w string) bool { return strings.HasSuffix(strings.ToLower(v), strings.ToLower(w)) },
	"token":  func(v, w string) bool { return strings.Contains(strings.ToLower(v), strings.ToLower(w)) },
	"in": func(v, w string) bool {
		return slices.Contains(strings.Split(strings.Trim(w, "[]"), ","), v)
	},
}

// plain gives an operator without its negation, and whether it was negated.
func (c condition) plain() (operator string, negated bool) {
	operator, negated = strings.CutPrefix(c.operator, "!")
	switch operator {
	case "ne", "neq":
		return "eq", !negated
	case "gte":
		operator = "ge"
	case "lte":
		operator = "le"
	}
	return operator, negated
}

func (c condition) known() bool {
	operator, _ := c.plain()
	return operators[operator] != nil || operator == "null" || operator == "empty"
}

// holds tells whether any of the values satisfies the condition.
func (c condition) holds(values []any) bool {
	operator, negated := c.plain()
	if operator == "null" || operator == "empty" {
		none := !slices.ContainsFunc(values, func(v any) bool { return v != nil })
		return none != negated
	}
	for _, value := range values {
		if value == nil {
			continue
		}
		if operators[operator](scalar(value), c.value) {
			return !negated
		}
	}
	return negated
}

// scalar writes a JSON value as a filter would.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case object:
		return text(v["id"])
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// compareTexts compares numbers as numbers and everything else as text.
func compareTexts(a, b string) int {
	x, err := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	if err == nil && err2 == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(a, b)
}

// compare orders two objects by the `order` parameters, by name where there are none.
func (q query) compare(a, b object) int {
	orders := q.Values["order"]
	if len(orders) == 0 {
		orders = []string{"name:iasc"}
	}
	for _, order := range strings.Split(strings.Join(orders, ","), ",") {
		property, direction, _ := strings.Cut(order, ":")
		x, y := scalar(q.property(q.class, a, property)), scalar(q.property(q.class, b, property))
		if strings.HasPrefix(direction, "i") {
			x, y = strings.ToLower(x), strings.ToLower(y)
		}
		c := compareTexts(x, y)
		if strings.HasSuffix(direction, "desc") {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// page cuts a list to the page that was asked for and describes it; the description is nil when paging is off.
func page(r *http.Request, found []object) ([]object, object, error) {
	parameters := r.URL.Query()
	if parameters.Get("paging") == "false" || parameters.Get("skipPaging") == "true" {
		return found, nil, nil
	}
	number, size := 1, 50
	for name, into := range map[string]*int{"page": &number, "pageSize": &size} {
		if given := parameters.Get(name); given != "" {
			n, err := strconv.Atoi(given)
			if err != nil {
				return nil, nil, fmt.Errorf("Value '%s' is not valid for parameter %s", given, name) //nolint:staticcheck // DHIS2's own words
			}
			*into = n
		}
	}
	shown := found[min(max(number-1, 0)*max(size, 0), len(found)):]
	shown = shown[:min(max(size, 0), len(shown))]
	number, size = max(number, 1), max(size, 1)
	pageCount := (len(found) + size - 1) / size
	if number > pageCount {
		number = 1 // DHIS2 says so, though it shows nothing
	}
	pager := object{"page": number, "total": len(found), "pageSize": size, "pageCount": pageCount}
	link := func(page int) string {
		parameters.Set("page", strconv.Itoa(page))
		parameters.Set("pageSize", strconv.Itoa(size))
		return baseURL(r) + r.URL.Path + "?" + parameters.Encode()
	}
	if number*size < len(found) {
		pager["nextPage"] = link(number + 1)
	}
	if number > 1 {
		pager["prevPage"] = link(number - 1)
	}
	return shown, pager, nil
}
