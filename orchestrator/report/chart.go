package report

// part is one bucket of the sums, with its place in the bar.
type part struct {
	// Name is its CSS class, Text the key of what it is called.
	Name, Text string
	Count      int
	// X and Width are of the bar's thousand units.
	X, Width float64
}

// partsOf divides the sums into parts. They add up to the total: what is held is divided by its reason, and
// what of it stands in no list is a part of its own.
func partsOf(r *Report) []part {
	open, refusal := "part.open", "part.refused"
	if r.PlanOnly {
		open, refusal = "part.planned", "part.wouldRefuse"
	}
	conflicts, refused, waiting := len(r.Conflicts), len(r.Refusals), len(r.Waiting)
	var parts []part
	for _, p := range []part{
		{Name: "pushed", Text: "part.pushed", Count: r.Sums.Pushed},
		{Name: "already", Text: "part.already", Count: r.Sums.AlreadyThere},
		{Name: "open", Text: open, Count: r.Sums.Open},
		{Name: "conflicts", Text: "part.conflicts", Count: conflicts},
		{Name: "refused", Text: refusal, Count: refused},
		{Name: "waiting", Text: "part.waiting", Count: waiting},
		{Name: "held", Text: "part.held", Count: r.Sums.Held - conflicts - refused - waiting},
		{Name: "dropped", Text: "part.dropped", Count: r.Sums.Dropped},
		{Name: "out", Text: "part.out", Count: r.Sums.OutOfScope},
	} {
		if p.Count > 0 {
			parts = append(parts, p)
		}
	}
	return layOut(parts)
}

// layOut gives each part its width. A part is wide enough to be seen even when it is one in a thousand; the
// others make room.
func layOut(parts []part) []part {
	const whole, least = 1000.0, 12.0
	total, small, room := 0, 0.0, whole
	for _, p := range parts {
		total += p.Count
	}
	for i := range parts {
		if parts[i].Width = whole * float64(parts[i].Count) / float64(total); parts[i].Width < least {
			small += parts[i].Width
			room -= least
			parts[i].Width = least
		}
	}
	x := 0.0
	for i := range parts {
		if parts[i].Width > least {
			parts[i].Width *= room / (whole - small)
		}
		parts[i].X = x
		x += parts[i].Width
	}
	return parts
}

// barsOf divides the sums of one kind of record, or of one run, into parts.
func barsOf(s Sums) []part {
	var parts []part
	for _, p := range []part{
		{Name: "pushed", Text: "kinds.home", Count: s.Home()},
		{Name: "open", Text: "kinds.open", Count: s.Open},
		{Name: "held", Text: "kinds.held", Count: s.Held},
		{Name: "dropped", Text: "kinds.dropped", Count: s.Dropped},
		{Name: "out", Text: "kinds.out", Count: s.OutOfScope},
	} {
		if p.Count > 0 {
			parts = append(parts, p)
		}
	}
	layOut(parts)
	for i := range parts { // of three hundred units: they are shorter, and patterns are to be seen
		parts[i].X, parts[i].Width = parts[i].X*0.3, parts[i].Width*0.3
	}
	return parts
}

// listed is a section of the page that lists something.
type listed struct {
	ID, Text string
	Count    int
}

// sectionsOf are the sections of a report that list records, with how many; none where there is little to look for.
func sectionsOf(r *Report) []listed {
	refused := "refused"
	if r.PlanOnly {
		refused = "wouldRefuse"
	}
	var sections []listed
	for _, s := range []listed{
		{"conflicts", "conflicts", len(r.Conflicts)}, {"decisions", "decisions", len(r.Decisions)}, {"refused", refused, len(r.Refusals)},
		{"same", "same", len(r.SamePeople)},
		{"waiting", "waiting", len(r.Waiting)}, {"drift", "drift", len(r.Drift)}, {"merged", "merged", len(r.Merged)}, {"rewritten", "rewritten", len(r.Rewritten)},
		{"overtaken", "overtaken", len(r.Overtaken)}, {"notloaded", "notloaded", len(r.NotLoaded)}, {"warnings", "warnings", len(r.Warnings)},
	} {
		if s.Count > 0 {
			sections = append(sections, s)
		}
	}
	if len(sections) == 0 {
		return nil
	}
	return append(sections, listed{ID: "timeline", Text: "timeline"}, listed{ID: "details", Text: "details"})
}

// moment says what happened.
func (c catalogue) moment(m Moment) (string, error) {
	switch m.What {
	case MomentPrepared:
		return c.say("moment.prepared")
	case MomentSignedOff:
		return c.say("moment.signedOff", m.By, c.number(m.Changes))
	}
	return c.say("moment."+m.What, m.Run)
}
