package orchestrator

import "path/filepath"

// reportName is the report for people in a trip's folder.
const reportName = "report.html"

// ReportPath is the file with a trip's report for people, which is there after the trip's first reconcile.
func (k *Kit) ReportPath(trip string) string { return filepath.Join(k.tripDir(trip), reportName) }
