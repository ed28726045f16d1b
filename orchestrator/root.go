package orchestrator

import (
	"fmt"
	"strings"
)

// rootKind says what a root is.
type rootKind string

const (
	rootPerson       rootKind = "person"
	rootEvent        rootKind = "event"
	rootRelationship rootKind = "relationship"
	rootForm         rootKind = "form"
)

// root is what is looked at and sent as one. It is comparable.
type root struct {
	kind rootKind
	// uid is the object's; a form's is dataSet.period.orgUnit, a single event's program.event.
	uid string
}

// String is the root as the journal keeps it.
func (r root) String() string { return string(r.kind) + ":" + r.uid }

// parseRoot reads what String wrote.
func parseRoot(s string) (root, error) {
	kind, uid, ok := strings.Cut(s, ":")
	switch k := rootKind(kind); k {
	case rootPerson, rootEvent, rootRelationship, rootForm:
		if ok && uid != "" {
			return root{kind: k, uid: uid}, nil
		}
	}
	return root{}, fmt.Errorf("the journal names %q, which is no person, event, relationship or form", s)
}

// person is the uid of the tracked entity that the root's objects belong to; empty where there is none.
func (r root) person() string {
	if r.kind == rootPerson {
		return r.uid
	}
	return ""
}

// form is a form root's parts.
type form struct{ dataSet, period, orgUnit string }

func (f form) root() root {
	return root{kind: rootForm, uid: f.dataSet + "." + f.period + "." + f.orgUnit}
}

// form returns the parts of a form root.
func (r root) form() (form, error) {
	parts := strings.Split(r.uid, ".")
	if r.kind != rootForm || len(parts) != 3 {
		return form{}, fmt.Errorf("%s is no form", r)
	}
	return form{dataSet: parts[0], period: parts[1], orgUnit: parts[2]}, nil
}

// eventRoot is the root of an event of a program without registration.
func eventRoot(program, event string) root {
	return root{kind: rootEvent, uid: program + "." + event}
}

// event returns the program and the uid of an event root.
func (r root) event() (program, event string, err error) {
	program, event, ok := strings.Cut(r.uid, ".")
	if r.kind != rootEvent || !ok {
		return "", "", fmt.Errorf("%s is no event", r)
	}
	return program, event, nil
}
