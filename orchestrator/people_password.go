package orchestrator

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// passwordWeakness says what DHIS2 would refuse a password for, or "" (2.41 to 2.43,
// DefaultPasswordValidationService; the lengths are the system settings' defaults, and a setting of the server
// may ask for more).
func passwordWeakness(password, username string) string {
	lower := strings.ToLower(password)
	switch {
	case utf8.RuneCountInString(password) < 8 || len(password) > 72:
		return "has less than 8 characters or more than 72"
	case !strings.ContainsAny(password, "0123456789"):
		return "has no digit"
	case !strings.ContainsFunc(password, func(r rune) bool { return r >= 'A' && r <= 'Z' }):
		return "has no capital letter"
	case !strings.ContainsFunc(password, func(r rune) bool { return r >= 'a' && r <= 'z' }):
		return "has no small letter"
	case !strings.ContainsFunc(password, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}):
		return "has nothing but letters and digits"
	case username != "" && strings.Contains(lower, strings.ToLower(username)):
		return "holds the username"
	}
	for _, word := range []string{"user", "admin", "system", "password", "login", "manager"} {
		if strings.Contains(lower, word) {
			return "holds the word " + word
		}
	}
	return ""
}

// newPassword makes a password that can be read out, typed on a tablet and satisfies DHIS2: Kivota.mesu472.
// Syllables of any language's letters, one capital, at its start, and what needs the second keyboard at its
// end; nothing that looks like something else (0 and o, 1 and l). There are 2^39 of them, each as likely as the
// others, and DHIS2 checks some ten a second.
func newPassword(random io.Reader, username string) (string, error) {
	const consonants, vowels, digits = "bdfgkmnprstvz", "aeiou", "23456789"
	pick := func(from string) (byte, error) {
		for b := make([]byte, 1); ; {
			if _, err := io.ReadFull(random, b); err != nil {
				return 0, fmt.Errorf("cannot make a password: %w", err)
			}
			if most := 256 / len(from) * len(from); int(b[0]) < most {
				return from[int(b[0])%len(from)], nil
			}
		}
	}
	for {
		var password []byte
		for _, form := range "cvcvcv.cvcvddd" {
			letters := map[rune]string{'c': consonants, 'v': vowels, 'd': digits, '.': "."}[form]
			letter, err := pick(letters)
			if err != nil {
				return "", err
			}
			password = append(password, letter)
		}
		made := strings.ToUpper(string(password[:1])) + string(password[1:])
		if passwordWeakness(made, username) == "" && !isRude(made) {
			return made, nil
		}
	}
}

// isRude tells whether a made-up word holds one that does not belong on a card, in Spanish, English, Portuguese
// or French.
func isRude(text string) bool {
	text = strings.ToLower(strings.ReplaceAll(text, ".", ""))
	for _, word := range []string{
		"puta", "puto", "pute", "pene", "peni", "pedo", "pito", "teta", "tita", "kaka", "kuka", "popo", "pipi", "mamo", "mama", "sida", "nazi", "negr",
		"nega", "niga", "mono", "moro", "bobo", "tonto", "gorda", "gordo", "zora", "feo", "mata", "mate", "mori", "muer", "rata", "pute", "foda", "fode",
		"bosta", "anus", "nude", "sexo", "suka", "dume", "bite", "kona", "satan", "diabo",
	} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// sealPassword makes a password recognisable without keeping it.
func sealPassword(password string) (string, error) {
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("cannot seal a password: %w", err)
	}
	return sealWith(password, salt)
}

func sealWith(password string, salt []byte) (string, error) {
	const rounds, length = 20_000, 32
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, length)
	if err != nil {
		return "", fmt.Errorf("cannot seal a password: %w", err)
	}
	return base64.RawStdEncoding.EncodeToString(append(salt, key...)), nil
}

// opensSeal tells whether the seal is of this password.
func opensSeal(seal, password string) bool {
	kept, err := base64.RawStdEncoding.DecodeString(seal)
	if err != nil || len(kept) < 16 {
		return false
	}
	again, err := sealWith(password, kept[:16:16])
	return err == nil && subtle.ConstantTimeCompare([]byte(again), []byte(seal)) == 1
}
