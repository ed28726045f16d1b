package orchestrator

import (
	"context"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator/journal"
	"github.com/dhis2-fieldkit/fieldkit/orchestrator/report"
)

// addDeparture adds to a report what the trip left base without, and what prepare warned of: it may be the
// reason for what is found now.
func addDeparture(ctx context.Context, j *journal.Journal, result *report.Report) error {
	receipt, err := receiptOf(ctx, j)
	if err != nil || receipt == nil {
		return err
	}
	for _, warning := range receipt.Warnings {
		result.Warnings = append(result.Warnings, "at prepare: "+warning)
	}
	if receipt.Load == nil {
		return nil
	}
	for _, no := range receipt.Load.Refused {
		result.NotLoaded = append(result.NotLoaded, report.Refusal{
			Reference: report.Reference{Kind: string(no.Kind), UID: no.UID, Person: no.Person}, Code: no.Code, Reason: no.Reason + no.From(),
		})
	}
	for _, omitted := range receipt.Load.Omitted {
		result.NotLoaded = append(result.NotLoaded, report.Refusal{
			Reference: report.Reference{Kind: string(omitted.Kind), UID: omitted.UID, Person: omitted.Person}, Field: omitted.Field,
			Reason: omitted.Reason + omitted.From(),
		})
	}
	return nil
}
