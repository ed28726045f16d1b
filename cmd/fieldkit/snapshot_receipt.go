package main

import (
	"fmt"
	"io"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// mostPrinted is how many records are named on the terminal; the receipt's file names more.
const mostPrinted = 10

// printProof prints what makes a receipt of prepare's summary.
func printProof(w io.Writer, proof *orchestrator.PrepareProof) {
	if proof == nil || proof.Checksum.Records == "" {
		return
	}
	for _, left := range proof.LeftOut {
		fmt.Fprintf(w, "left out: %d %s: %s\n", left.Count, left.What, left.Reason)
	}
	if proof.Who != "" {
		fmt.Fprintf(w, "prepared by %s\n", proof.Who)
	}
	fmt.Fprintf(w, "content %s of records, %s of metadata, %s stored\n", shortSum(proof.Checksum.Records), shortSum(proof.Checksum.Metadata), megabytes(proof.Bytes))
}

// shortSum is enough of a checksum to compare by eye; receipt.json holds all of it.
func shortSum(sum string) string { return sum[:min(len(sum), 16)] }

// printUnlike names the first of the records that the kit gives back otherwise.
func printUnlike(w io.Writer, receipt *orchestrator.PrepareReceipt) {
	for _, record := range receipt.Unlike[:min(len(receipt.Unlike), mostPrinted)] {
		how := "different"
		if record.Missing {
			how = "missing"
		}
		fmt.Fprintf(w, "  %s: %s %s\n", how, record.Kind, record.UID)
	}
	if rest := receipt.Missing + receipt.Differing - mostPrinted; rest > 0 {
		fmt.Fprintf(w, "  and %d more\n", rest)
	}
}
