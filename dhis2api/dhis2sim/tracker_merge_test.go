package dhis2sim

import (
	"net/http"
	"strings"
	"testing"
)

// TestMergeDuplicate: what a real DHIS2 2.42 answered, with the same people in the same order.
func TestMergeDuplicate(t *testing.T) {
	for _, version := range []string{"2.41.9.1", "2.42.5.2", "2.43.1"} {
		t.Run(version, func(t *testing.T) {
			s := trackerServer(t, version)
			person := func(uid, name, enrollment string) string {
				enrollments := ""
				if enrollment != "" {
					enrollments = `,"enrollments":[{"enrollment":"` + enrollment + `","program":"ProgClinic1","orgUnit":"OuFacility1","status":"ACTIVE",` +
						`"enrolledAt":"2026-05-01","occurredAt":"2026-05-01"}]`
				}
				return `{"trackedEntity":"` + uid + `","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1",` +
					`"attributes":[{"attribute":"AttrName001","value":"` + name + `"}]` + enrollments + `}`
			}
			load(t, s, "", `{"trackedEntities":[`+strings.Join([]string{
				person("Person00000", "x", "Enrollment0"), person("Person00001", "x", "Enrollment1"), person("Person00002", "y", ""), person("Person00003", "x", ""),
			}, ",")+`]}`)
			pair := func(original, duplicate string) string {
				status, answer := call(t, s, http.MethodPost, "/api/potentialDuplicates", `{"original":"`+original+`","duplicate":"`+duplicate+`"}`)
				if status != http.StatusOK {
					t.Fatalf("%d %v", status, answer)
				}
				return text(answer["id"])
			}
			enrolled, other, left := pair("Person00000", "Person00001"), pair("Person00000", "Person00002"), pair("Person00003", "Person00000")
			for _, row := range []struct {
				account, pair, query, body string
				status                     int
				message                    string
			}{
				{administrator, enrolled, "", "", 409, "PotentialDuplicate cannot be merged automatically: Both entities enrolled in the same program."},
				{administrator, other, "", "", 409, "PotentialDuplicate cannot be merged automatically: Entities have conflicting values for the same attributes."},
				{administrator, other, "?mergeStrategy=MANUAL", `{"enrollments":["Enrollment1"]}`, 409, "Merging conflict: Duplicate has no enrollment 'Enrollment1'."},
				{administrator, enrolled, "?mergeStrategy=MANUAL", `{"enrollments":["Enrollment1"]}`, 409, "Merging conflict: Invalid enrollment 'ProgClinic1'. A similar enrollment already exists on original."},
				{administrator, "Nobody00000", "", "", 404, "PotentialDuplicate with id Nobody00000 could not be found."},
				{clerk, left, "", "", 403, "Insufficient access: Missing required authority for merging tracked entities."},
				{administrator, left, "", "", 200, ""},
				{administrator, left, "", "", 404, "TrackedEntity with id Person00000 could not be found."},
			} {
				status, answer := ask(t, s, row.account, http.MethodPost, "/api/potentialDuplicates/"+row.pair+"/merge"+row.query, row.body)
				if status != row.status || text(answer["message"]) != row.message {
					t.Errorf("%s%s: %d %v, want %d %s", row.pair, row.query, status, answer["message"], row.status, row.message)
				}
			}
			_, enrollment := call(t, s, http.MethodGet, "/api/tracker/enrollments/Enrollment0?fields=trackedEntity,status", "")
			if text(enrollment["trackedEntity"]) != "Person00003" || text(enrollment["status"]) != "ACTIVE" {
				t.Errorf("the enrollment after it: %v", enrollment)
			}
			_, survivor := call(t, s, http.MethodGet, "/api/tracker/trackedEntities/Person00003?fields=programOwners[orgUnit]&program=ProgClinic1", "")
			if owners := list(survivor["programOwners"]); len(owners) != 1 {
				t.Errorf("the owners of who stayed: %v", owners)
			}
			_, merged := call(t, s, http.MethodGet, "/api/potentialDuplicates?status=MERGED&trackedEntities=Person00000", "")
			if pairs := list(merged["potentialDuplicates"]); len(pairs) != 1 || text(pairs[0].(object)["original"]) != "Person00003" {
				t.Errorf("what was merged: %v", pairs)
			}
			// The validation alone keeps an enrollment with its person.
			moved := `{"enrollments":[{"enrollment":"Enrollment0","trackedEntity":"Person00001","program":"ProgClinic1","orgUnit":"OuFacility1","status":"ACTIVE","enrolledAt":"2026-05-01","occurredAt":"2026-05-01"}]}`
			if _, report := call(t, s, http.MethodPost, "/api/tracker?async=false", moved); len(codes(report)) != 1 || codes(report)[0] != "E1127 Enrollment0" {
				t.Errorf("moving it: %v", codes(report))
			}
			load(t, s, "&validationMode=SKIP", moved)
			if _, enrollment = call(t, s, http.MethodGet, "/api/tracker/enrollments/Enrollment0?fields=trackedEntity", ""); text(enrollment["trackedEntity"]) != "Person00001" {
				t.Errorf("moved without validation: %v", enrollment)
			}
		})
	}
}

// TestMergeDuplicateByHand: what the body does not name is left with the duplicate, and deleted with it.
func TestMergeDuplicateByHand(t *testing.T) {
	s := trackerServer(t, "2.42.5.2")
	load(t, s, "", `{"trackedEntities":[
		{"trackedEntity":"Person00000","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1","attributes":[{"attribute":"AttrName001","value":"x"}]},
		{"trackedEntity":"Person00001","trackedEntityType":"TypePerson1","orgUnit":"OuFacility1",
			"attributes":[{"attribute":"AttrName001","value":"x"},{"attribute":"AttrUnique1","value":"7"}],
			"enrollments":[{"enrollment":"Enrollment1","program":"ProgClinic1","orgUnit":"OuFacility1","status":"ACTIVE","enrolledAt":"2026-05-01","occurredAt":"2026-05-01"}]}]}`)
	_, pair := call(t, s, http.MethodPost, "/api/potentialDuplicates", `{"original":"Person00000","duplicate":"Person00001"}`)
	path := "/api/potentialDuplicates/" + text(pair["id"]) + "/merge?mergeStrategy=MANUAL"
	if status, answer := call(t, s, http.MethodPost, path, `{"trackedEntityAttributes":["AttrUnique1"]}`); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	if status, _ := call(t, s, http.MethodGet, "/api/tracker/enrollments/Enrollment1", ""); status != http.StatusNotFound {
		t.Errorf("the enrollment that nobody named: %d", status)
	}
	_, survivor := call(t, s, http.MethodGet, "/api/tracker/trackedEntities/Person00000?fields=attributes[attribute,value]", "")
	values := map[string]string{}
	for _, a := range list(survivor["attributes"]) {
		values[text(a.(object)["attribute"])] = text(a.(object)["value"])
	}
	if values["AttrName001"] != "x" || values["AttrUnique1"] != "7" {
		t.Errorf("who stayed has %v", values)
	}
}
