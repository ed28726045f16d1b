package orchestrator

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// The policies that a rule for conflicts may have.
const (
	policyHold    = "hold"
	policyLocal   = "local"
	policyCentral = "central"
)

// ConflictsConfig says what is done about conflicts that nobody decides, each with hold, local or central: by field,
// else by program, else by default. "" is hold.
type ConflictsConfig struct {
	Default string
	// Programs are by code or uid; Fields too, of attributes and data elements, or the names of fields such as status.
	Programs, Fields map[string]string
}

// policies returns a reader of a mapping of names to policies.
func (p *configParser) policies(target *map[string]string) func(ast.Node) error {
	return func(node ast.Node) error {
		mapping, ok := node.(ast.MapNode)
		if !ok {
			return p.fail(node, "as in {PHONE: local}", "names are wanted here, each with a policy")
		}
		*target = map[string]string{}
		for entries := mapping.MapRange(); entries.Next(); {
			name := entries.Key().GetToken().Value
			var policy string
			if isNothing(entries.Value()) {
				return p.fail(entries.Key(), "", "%s has no value", name)
			}
			if err := p.text(&policy, checkPolicy)(entries.Value()); err != nil {
				return err
			}
			if _, twice := (*target)[name]; twice {
				return p.fail(entries.Key(), "", "%s is there twice", name)
			}
			(*target)[name] = policy
		}
		return nil
	}
}

// checkPolicy accepts what a rule may say about conflicts.
func checkPolicy(text string) error {
	switch text {
	case policyHold, policyLocal, policyCentral:
		return nil
	}
	return fmt.Errorf("hold, local or central is wanted here, not %q", text)
}
