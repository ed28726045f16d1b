// Package orchestrator holds fieldkit's workflows: prepare takes a scope of central along, up opens the kit to
// the clinic and down closes it, reconcile brings the kit's changes home, doctor says beforehand what would go
// wrong, demo plays it all.
//
// The nouns:
//
//   - Central is the DHIS2 server at home, local the kit's.
//   - A kit is one directory with its fieldkit.yaml; one run at a time holds it.
//   - A trip is one going out and coming back: begun by prepare, closed when nothing is open. Its folder
//     trips/ID holds the snapshot, the journal, the plan and the reports.
//   - The stack is a kit's own containers, where it has some. Closed, nothing outside this machine reaches it;
//     open, the clinic does. stack.json keeps its secrets, what its data was made with, and the name and address
//     by which tablets know it.
//   - A root is what is looked at and sent as one: a person (a tracked entity with enrollments and events),
//     a single event, a relationship, or a form (a data set's values of one period and org unit).
//   - A holding is what one server has of some roots, in DHIS2's own form and in canonical form.
//   - Changes, verdicts and faces are package merge's; states are package journal's.
//
// How reconcile goes: local's scope is streamed and hashed against the loaded face of the snapshot, which
// leaves the candidates. For these alone the four faces are put side by side, compared, and the verdicts
// written to the journal. What is open is then looked at once more, batch by batch, sent, read back and
// verified. The plan and the reports are written from the journal.
package orchestrator
