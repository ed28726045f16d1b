package dhis2sim

import "strings"

// fieldFilter is a parsed `fields` parameter: which fields of an object are shown. A nil filter shows all
// that an object shows by default.
type fieldFilter struct {
	// presets are what `*` (as "all") and `:owner` and their like stand for; they add to the named fields.
	presets []string
	named   map[string]*fieldFilter // field to the filter of what is below, nil when none was given
	rename  map[string]string       // field~rename(name)
	size    map[string]bool         // field~size or field::size
	exclude map[string]bool
}

// parseFields parses `a,b[c,!d],*,:owner,!e`. It forgives what DHIS2's own parser forgives, which is
// everything; brackets may be round.
func parseFields(fields string) *fieldFilter {
	f, _ := parseFieldList(fields)
	return f
}

// parseFieldList parses up to the closing bracket or the end, and returns what is left.
func parseFieldList(rest string) (*fieldFilter, string) {
	f := &fieldFilter{named: map[string]*fieldFilter{}}
	for rest != "" {
		end := strings.IndexAny(rest, ",[]()~|")
		if end < 0 {
			end = len(rest)
		}
		name := strings.TrimSpace(rest[:end])
		if i := strings.Index(name, "::"); i > 0 { // field::transformer
			end = strings.Index(rest, "::")
			name = strings.TrimSpace(rest[:end])
			rest = rest[:end] + "~" + rest[end+2:]
		}
		rest = rest[end:]
		var below *fieldFilter
		for rest != "" && (rest[0] == '~' || rest[0] == '|') {
			rest = f.transformer(name, rest[1:])
		}
		if rest != "" && (rest[0] == '[' || rest[0] == '(') {
			below, rest = parseFieldList(rest[1:])
		}
		f.add(name, below)
		if rest == "" {
			break
		}
		last := rest[0]
		rest = rest[1:]
		if last == ']' || last == ')' {
			break
		}
	}
	return f, rest
}

func (f *fieldFilter) add(name string, below *fieldFilter) {
	switch {
	case name == "":
	case name == "*":
		f.presets = append(f.presets, "all")
	case name[0] == ':':
		f.presets = append(f.presets, name[1:])
	case name[0] == '!':
		if f.exclude == nil {
			f.exclude = map[string]bool{}
		}
		f.exclude[name[1:]] = true
	default:
		if known := f.named[name]; known != nil && below != nil {
			below.merge(known)
		} else if below == nil {
			below = known
		}
		f.named[name] = below
	}
}

// merge adds what other shows.
func (f *fieldFilter) merge(other *fieldFilter) {
	f.presets = append(f.presets, other.presets...)
	for name, below := range other.named {
		f.add(name, below)
	}
	for name := range other.exclude {
		f.add("!"+name, nil)
	}
}

// transformer takes in `rename(x)` or `size` behind a field and returns what follows.
func (f *fieldFilter) transformer(field, rest string) string {
	end := strings.IndexAny(rest, "(,[]~|")
	if end < 0 {
		end = len(rest)
	}
	name, argument := rest[:end], ""
	rest = rest[end:]
	if rest != "" && rest[0] == '(' {
		argument, rest, _ = strings.Cut(rest[1:], ")")
	}
	switch name {
	case "rename":
		if f.rename == nil {
			f.rename = map[string]string{}
		}
		f.rename[field] = argument
	case "size":
		if f.size == nil {
			f.size = map[string]bool{}
		}
		f.size[field] = true
	}
	return rest
}

// all tells whether the filter shows every field that is not excluded.
func (f *fieldFilter) all() bool {
	if f == nil {
		return true
	}
	for _, preset := range f.presets {
		if preset == "all" || preset == "owner" || preset == "persisted" {
			return true
		}
	}
	return false
}

// apply returns what the filter shows of a JSON value whose references are nested values (tracker data).
// Lists are filtered item by item. The value itself is not changed, parts of it are shared.
func (f *fieldFilter) apply(v any) any {
	if f == nil {
		return v
	}
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = f.apply(item)
		}
		return out
	case []object:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = f.apply(item)
		}
		return out
	case object:
		out := make(object, len(v))
		if f.all() {
			for name, value := range v {
				if !f.exclude[name] {
					out[f.shownAs(name)] = f.shown(name, f.named[name].apply(value))
				}
			}
			return out
		}
		for name, below := range f.named {
			if value, ok := v[name]; ok && !f.exclude[name] {
				out[f.shownAs(name)] = f.shown(name, below.apply(value))
			}
		}
		return out
	}
	return v
}

func (f *fieldFilter) shownAs(name string) string {
	if other := f.rename[name]; other != "" {
		return other
	}
	return name
}

func (f *fieldFilter) shown(name string, value any) any {
	if f.size[name] {
		if list, ok := value.([]any); ok {
			return len(list)
		}
	}
	return value
}
