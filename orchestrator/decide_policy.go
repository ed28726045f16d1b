package orchestrator

import (
	"encoding/json"
	"fmt"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
	"github.com/dhis2-fieldkit/fieldkit/snapshot/merge"
)

// policyName stands as who decided where a policy did.
const policyName = ConfigFile

// policies decide conflicts by the rules of fieldkit.yaml: by field, else by program, else by default. They decide
// about fields that both sides have only: deletions, and what central deleted, are for people to decide.
type policies struct {
	rest             report.Choice // "" to hold
	programs, fields map[string]report.Choice
}

// newPolicies resolves the names in the configuration by a trip's metadata; nil when there are no policies. A name
// that the trip does not know is an ErrUsage.
func newPolicies(config *Config, s *snapshot.Snapshot) (*policies, error) {
	c := config.Conflicts
	if c.Default == "" && len(c.Programs)+len(c.Fields) == 0 {
		return nil, nil
	}
	metadata, err := metadataOf(s)
	if err != nil {
		return nil, err
	}
	p := &policies{rest: choiceOf(c.Default), programs: map[string]report.Choice{}, fields: map[string]report.Choice{}}
	resolve := func(into map[string]report.Choice, key string, policies map[string]string, classes ...string) error {
		uids := map[string]string{}
		for _, class := range classes {
			for _, raw := range metadata[class] {
				var named struct{ ID, Code string }
				if err := json.Unmarshal(raw, &named); err != nil {
					return fmt.Errorf("cannot read the snapshot's metadata: %w", err)
				}
				if named.Code != "" {
					uids[named.Code] = named.ID
				}
				uids[named.ID] = named.ID
			}
		}
		for name, policy := range policies {
			uid, known := uids[name]
			if !known && !(key == "fields" && plainField(name)) {
				return &ConfigError{File: config.Path, Message: fmt.Sprintf("conflicts.%s names %s, which the trip does not carry", key, name)}
			}
			if !known {
				uid = name
			}
			into[uid] = choiceOf(policy)
		}
		return nil
	}
	if err := resolve(p.programs, "programs", c.Programs, "programs"); err != nil {
		return nil, err
	}
	return p, resolve(p.fields, "fields", c.Fields, "trackedEntityAttributes", "dataElements")
}

// plainField tells whether a name is that of a field which every record of a kind has.
func plainField(name string) bool {
	switch name {
	case merge.FieldStatus, merge.FieldOccurredAt, merge.FieldScheduledAt, merge.FieldCompletedAt, merge.FieldOrgUnit, merge.FieldGeometry,
		"enrolledAt", "followUp", "inactive", "assignedUser", "attributeOptionCombo", "value", "comment", "completed":
		return true
	}
	return false
}

// choiceOf is what a policy's word decides; nothing for hold.
func choiceOf(policy string) report.Choice {
	if policy == policyHold {
		return ""
	}
	return report.Choice(policy)
}

// choice is what the policies decide about a conflict; empty when it is held.
func (p *policies) choice(change merge.Change, record merge.Record) report.Choice {
	object, atCentral := record.Central.Objects[change.Ref]
	if p == nil || change.Verb != merge.Update || change.Field == "" || !atCentral {
		return ""
	}
	field := change.Field
	if change.Ref.Kind == merge.DataValue && field == "value" {
		field = elementOf(change.UID)
	}
	if choice, known := p.fields[field]; known {
		return choice
	}
	if choice, known := p.programs[object.Fields[merge.FieldProgram]]; known {
		return choice
	}
	return p.rest
}
