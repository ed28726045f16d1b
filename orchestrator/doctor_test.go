package orchestrator

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDiskEncryption(t *testing.T) {
	const mounts = `21 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw
22 21 253:1 / /srv rw shared:1 - ext4 /dev/mapper/vg-srv rw
23 21 253:2 / /srv/half rw - ext4 /dev/mapper/vg-half rw
24 21 253:0 / /my\040kit rw - ext4 /dev/mapper/luks rw
25 21 0:35 / /tmp rw - tmpfs tmpfs rw
`
	file := func(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
	system := fstest.MapFS{
		"proc/self/mountinfo":             file(mounts),
		"sys/dev/block/8:2/size":          file("1"),
		"sys/dev/block/253:0/dm/uuid":     file("CRYPT-LUKS2-abc"),
		"sys/dev/block/253:1/dm/uuid":     file("LVM-abc"),
		"sys/dev/block/253:1/slaves/dm-5": file(""),
		"sys/class/block/dm-5/dm/uuid":    file("CRYPT-LUKS2-def"),
		"sys/dev/block/253:2/dm/uuid":     file("LVM-def"),
		"sys/dev/block/253:2/slaves/dm-5": file(""),
		"sys/dev/block/253:2/slaves/sdb1": file(""),
		"sys/class/block/sdb1/size":       file("1"),
	}
	tests := []struct {
		directory, device string
		encrypted, known  bool
	}{
		{"/home/kit", "/dev/sda2", false, true},
		{"/", "/dev/sda2", false, true},
		{"/my kit", "/dev/mapper/luks", true, true},
		{"/my kit/trips", "/dev/mapper/luks", true, true},
		{"/my kit 2", "/dev/sda2", false, true},
		{"/srv/kit", "/dev/mapper/vg-srv", true, true},
		{"/srv/half/kit", "/dev/mapper/vg-half", false, true},
		{"/tmp/kit", "tmpfs", false, false},
	}
	for _, test := range tests {
		encrypted, device, err := diskEncryption(system, test.directory)
		if encrypted != test.encrypted || device != test.device || (err == nil) != test.known {
			t.Errorf("%s: %v on %s, %v", test.directory, encrypted, device, err)
		}
	}
	if _, _, err := diskEncryption(fstest.MapFS{}, "/"); err == nil {
		t.Error("a system without a list of mounts is said to be known")
	}
}

func TestPeriodEnd(t *testing.T) {
	day := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC) // a Tuesday of week 48
	for periodType, want := range map[string]string{
		"Daily": "2026-11-24", "Weekly": "2026-11-29", "WeeklyWednesday": "2026-11-24", "WeeklyThursday": "2026-11-25",
		"WeeklySaturday": "2026-11-27", "WeeklySunday": "2026-11-28", "BiWeekly": "2026-11-29",
		"Monthly": "2026-11-30", "BiMonthly": "2026-12-31", "Quarterly": "2026-12-31", "QuarterlyNov": "2027-01-31",
		"SixMonthly": "2026-12-31", "SixMonthlyApril": "2027-03-31", "SixMonthlyNov": "2027-04-30",
		"Yearly": "2026-12-31", "FinancialApril": "2027-03-31", "FinancialJuly": "2027-06-30",
		"FinancialOct": "2027-09-30", "FinancialNov": "2027-10-31", "Fortnightly": "", "": "",
	} {
		end, ok := periodEnd(periodType, day)
		got := ""
		if ok {
			got = end.Format(time.DateOnly)
		}
		if got != want {
			t.Errorf("%s ends %s, want %s", periodType, got, want)
		}
	}
	if end, _ := periodEnd("BiWeekly", day.AddDate(0, 0, -7)); end.Format(time.DateOnly) != "2026-11-29" {
		t.Errorf("a fortnight's first week ends %s", end.Format(time.DateOnly))
	}
	if end, _ := periodEnd("Monthly", time.Date(2028, 2, 1, 0, 0, 0, 0, time.UTC)); end.Day() != 29 {
		t.Errorf("February of a leap year ends on the %d", end.Day())
	}
}

func TestDeadlines(t *testing.T) {
	day := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	show := func(found []deadline) []string {
		var lines []string
		for _, d := range found {
			lines = append(lines, d.day.Format(time.DateOnly)+" "+d.reason)
		}
		return lines
	}
	program := programRules{Name: "Child", ExpiryDays: 3, ExpiryPeriodType: "Monthly", CompleteEventsExpiryDays: 10}
	if diff := cmp.Diff([]string{
		"2026-12-04 program Child takes no change to events completed more than 10 days before",
		"2026-12-03 program Child takes events up to 3 days after their period (Monthly)",
	}, show(program.deadlines(day))); diff != "" {
		t.Error(diff)
	}
	if found := (programRules{ExpiryDays: 3}).deadlines(day); found != nil {
		t.Errorf("expiry days without a period type bind: %v", show(found))
	}
	form := formRules{Name: "Weekly", PeriodType: "Weekly", ExpiryDays: 1.5}
	if diff := cmp.Diff([]string{"2026-11-30 data set Weekly is locked 1.5 days after its period (Weekly)"}, show(form.deadlines(day, true))); diff != "" {
		t.Error(diff)
	}
	if found := form.deadlines(day, false); found != nil {
		t.Errorf("an account that may edit the expired is bound: %v", show(found))
	}
}
