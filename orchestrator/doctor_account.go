package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
	"github.com/dhis2-fieldkit/fieldkit/snapshot"
)

// account examines what the account that brings the data home may do at central, before the data is made.
type account struct {
	doctor *doctor
	me     *dhis2api.Me
	scope  *snapshot.Scope
}

// may tells whether the account has an authority; ALL stands for each.
func (a account) may(authority string) bool {
	return slices.Contains(a.me.Authorities, "ALL") || slices.Contains(a.me.Authorities, authority)
}

// registers tells whether any program in scope follows tracked entities.
func (a account) registers() bool {
	return slices.ContainsFunc(a.scope.Programs, snapshot.Program.Registers)
}

// authorities compares the account's authorities with what DHIS2's importers ask for (E1083, E1100, E1103).
func (a account) authorities() {
	programs, forms := len(a.scope.Programs) > 0, len(a.scope.DataSets) > 0
	missing := 0
	for _, need := range []struct {
		authority string
		applies   bool
		level     Level
		without   string
	}{
		{"F_DATAVALUE_ADD", forms, LevelError, "central takes no values of forms from it"},
		{"F_TEI_CASCADE_DELETE", a.registers(), LevelWarning, "patients deleted on the kit stay at central when they have enrollments"},
		{"F_ENROLLMENT_CASCADE_DELETE", a.registers(), LevelWarning, "enrollments deleted on the kit stay at central when they have events"},
		{"F_UNCOMPLETE_EVENT", programs, LevelWarning, "events reopened on the kit stay completed at central"},
		{"F_USER_VIEW", true, LevelWarning, "the people who work in the scope do not come along"},
	} {
		if need.applies && !a.may(need.authority) {
			missing++
			a.doctor.add(need.level, "authority", fmt.Sprintf("give a role of %s's %s", a.me.Username, need.authority),
				"%s lacks %s: %s", a.me.Username, need.authority, need.without)
		}
	}
	if missing == 0 {
		a.doctor.add(LevelOK, "authority", "", "%s has what the trip needs", a.me.Username)
	}
}

// reach compares the account's org units with the scope. Outside its capture units an account cannot create
// or delete (E1000), and its searches are cut short.
func (a account) reach() {
	outside := 0
	for _, unit := range a.scope.OrgUnits {
		above := strings.Split(unit.Path, "/")
		if slices.ContainsFunc(a.me.OrganisationUnits, func(own dhis2api.Ref) bool { return slices.Contains(above, own.ID) }) {
			continue
		}
		outside++
		a.doctor.add(LevelError, "reach", fmt.Sprintf("add %s, or a unit above it, to the data capture units of %s", unit.ID, a.me.Username),
			"%s is not below an org unit in which %s captures data", unit.Name, a.me.Username)
	}
	if outside == 0 {
		a.doctor.add(LevelOK, "reach", "", "%s captures data in the whole scope", a.me.Username)
	}
}

// accessRow is an object as the API writes it, with what the asking account may do with its data, nil
// where the server does not say.
type accessRow struct {
	ID     string
	Name   string
	Access struct{ Data *struct{ Read, Write bool } }

	ProgramStages     []accessRow
	TrackedEntityType *accessRow
}

// access asks central whether the account may write the data of what is in scope (E1091, E1095, E1001).
func (a account) access(ctx context.Context) {
	known, barred := false, 0
	note := func(kind string, row accessRow) {
		data := row.Access.Data
		if data == nil {
			return
		}
		known = true
		if !data.Write || !data.Read {
			barred++
			a.doctor.add(LevelError, "sharing", "share its data with one of the account's groups: capture and view",
				"%s may not read and write the data of %s %s", a.me.Username, kind, row.Name)
		}
	}
	const rights = "id,name,access[data[read,write]]"
	programs, err := listByID[accessRow](ctx, a.doctor.central, "programs",
		rights+",programStages["+rights+"],trackedEntityType["+rights+"]", programIDs(a.scope))
	forms, formsErr := listByID[accessRow](ctx, a.doctor.central, "dataSets", rights, dataSetIDs(a.scope))
	for _, err := range []error{err, formsErr} {
		if err != nil {
			a.doctor.add(LevelWarning, "sharing", Hint(err), "cannot be told: %v", err)
			return
		}
	}
	for _, program := range programs {
		note("program", program)
		for _, stage := range program.ProgramStages {
			note("program stage", stage)
		}
		if program.TrackedEntityType != nil {
			note("tracked entity type", *program.TrackedEntityType)
		}
	}
	for _, form := range forms {
		note("data set", form)
	}
	if known && barred == 0 {
		a.doctor.add(LevelOK, "sharing", "", "%s may read and write the data of every program and form", a.me.Username)
	}
}

func programIDs(scope *snapshot.Scope) []string {
	var ids []string
	for _, program := range scope.Programs {
		ids = append(ids, program.ID)
	}
	return ids
}

func dataSetIDs(scope *snapshot.Scope) []string {
	var ids []string
	for _, dataSet := range scope.DataSets {
		ids = append(ids, dataSet.ID)
	}
	return ids
}

// idsPerRequest keeps a list of ids well within the 8 KB that DHIS2 takes as a request's first line.
const idsPerRequest = 200

// listByID reads the objects of a class with the given ids, in no certain order; none for no ids.
func listByID[T any](ctx context.Context, client *dhis2api.Client, class, fields string, ids []string) ([]T, error) {
	var rows []T
	for some := range slices.Chunk(ids, idsPerRequest) {
		query := dhis2api.ListQuery{Fields: fields, Filters: []string{"id:in:[" + strings.Join(some, ",") + "]"}}
		for row, err := range dhis2api.ListAs[T](ctx, client, class, query) {
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}
