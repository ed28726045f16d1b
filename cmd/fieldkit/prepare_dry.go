package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dhis2-fieldkit/fieldkit/orchestrator"
)

// preparing is what `prepare` does with a kit: it prepares, or says what that would come to.
type preparing interface {
	prepare(ctx context.Context, c *call, options orchestrator.OpenOptions) (int, error)
}

// preparingAs is the one that the flags ask for.
func preparingAs(c *call) preparing {
	if c.parsed.Bool("dry-run") {
		return dryPreparing{}
	}
	return realPreparing{}
}

// dryPreparing reads a little at central, and changes nothing anywhere.
type dryPreparing struct{}

func (dryPreparing) prepare(ctx context.Context, c *call, options orchestrator.OpenOptions) (int, error) {
	options.Look = true
	kit, err := orchestrator.Open(options)
	if err != nil {
		return 0, err
	}
	defer kit.Close()
	estimate, err := kit.EstimatePrepare(ctx)
	if err != nil {
		return 0, err
	}
	return exitHome, c.show(estimate, func(w io.Writer) { printEstimate(w, estimate) })
}

func printEstimate(w io.Writer, e *orchestrator.PrepareEstimate) {
	fmt.Fprintf(w, "from %s, DHIS2 %s, as %s; nothing was taken\n", e.Central.URL, e.Central.Version, e.Account)
	for _, stream := range e.Streams {
		about := ""
		if !stream.Counted {
			about = "about "
		}
		fmt.Fprintf(w, "  %s%d %s of %s", about, stream.Objects, streamWord(stream.Kind), stream.Name)
		for _, kind := range []string{"enrollments", "events", "relationships"} {
			if n := stream.Below[kind]; n > 0 {
				fmt.Fprintf(w, ", about %d %s", n, kind)
			}
		}
		if stream.Subject.TrackedEntityType != "" {
			fmt.Fprint(w, " without enrollment")
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "about %s over the line, %s on disk, without metadata and files\n", megabytes(e.Received), megabytes(e.Stored))
	fmt.Fprintf(w, "%s to take the records from central, by samples", minutes(e.Taking))
	if e.Whole > 0 {
		fmt.Fprintf(w, "; %s for all of it, by trip %s", minutes(e.Whole), e.Last)
	}
	fmt.Fprintln(w)
	if e.Last != "" {
		fmt.Fprintln(w, "what has not changed since is not asked for again, unless with --full")
	}
	fmt.Fprintf(w, "%d people, about %d values that identify them\n", e.Personal.People, e.Personal.Values)
	for _, attribute := range e.Personal.Attributes {
		fmt.Fprintf(w, "  %8d  %s (%s)\n", attribute.Values, attribute.Name, attribute.Reason)
	}
	fmt.Fprintf(w, "%s\n", e.Personal.Definition)
}

// streamWord is what the objects of a kind of the snapshot's are called.
func streamWord[Kind ~string](kind Kind) string {
	switch kind {
	case "tracker":
		return "tracked entities"
	case "values":
		return "values"
	}
	return string(kind)
}

// minutes writes a time for people.
func minutes(d time.Duration) string {
	if d < time.Minute {
		return "less than a minute"
	}
	return fmt.Sprintf("about %.0f minutes", d.Minutes())
}
