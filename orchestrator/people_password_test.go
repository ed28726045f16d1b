package orchestrator

import (
	"crypto/rand"
	"regexp"
	"testing"
)

func TestNewPassword(t *testing.T) {
	form := regexp.MustCompile(`^[BDFGKMNPRSTVZ][aeiou]([bdfgkmnprstvz][aeiou]){2}\.([bdfgkmnprstvz][aeiou]){2}[2-9]{3}$`)
	seen := map[string]bool{}
	for range 2000 {
		password, err := newPassword(rand.Reader, "kivo")
		if err != nil {
			t.Fatal(err)
		}
		if !form.MatchString(password) || isRude(password) {
			t.Errorf("made %q", password)
		}
		if weakness := passwordWeakness(password, "kivo"); weakness != "" {
			t.Errorf("%q %s", password, weakness)
		}
		if seen[password] {
			t.Errorf("%q twice", password)
		}
		seen[password] = true
	}
}

func TestSealedPassword(t *testing.T) {
	seal, err := sealPassword("Kivota.mesu472")
	if err != nil {
		t.Fatal(err)
	}
	again, err := sealPassword("Kivota.mesu472")
	if err != nil {
		t.Fatal(err)
	}
	if seal == again {
		t.Error("the seal tells that two people have the same password")
	}
	for password, want := range map[string]bool{"Kivota.mesu472": true, "Kivota.mesu473": false, "": false} {
		if opensSeal(seal, password) != want || opensSeal(again, password) != want {
			t.Errorf("the seal of another password: %q", password)
		}
	}
	if opensSeal("", "") || opensSeal("AAAA", "x") {
		t.Error("opens what is no seal")
	}
}
