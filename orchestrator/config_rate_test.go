package orchestrator

import (
	"errors"
	"strings"
	"testing"
)

func TestParseConfigRate(t *testing.T) {
	file := func(rate string) []byte {
		return []byte("name: bocas-1\ncentral: {url: https://dhis2.example.org, rate: " + rate + "}\nscope: {orgUnits: [RIOCANA]}\n")
	}
	for text, want := range map[string]float64{"2": 2, "0.5": 0.5, "1000": 1000} {
		c, err := ParseConfig(ConfigFile, file(text))
		if err != nil || c.Central.Rate != want {
			t.Errorf("rate %s is %v: %v", text, c.Central.Rate, err)
		}
	}
	for _, text := range []string{"0", "-1", "fast", "NaN", "Inf", "1001", "[2]"} {
		_, err := ParseConfig(ConfigFile, file(text))
		var mistake *ConfigError
		if !errors.As(err, &mistake) || mistake.Line != 2 {
			t.Errorf("rate %s: %v", text, err)
			continue
		}
		if text == "fast" && !strings.Contains(Hint(err), "0.01 to 1000") {
			t.Errorf("the hint is %q", Hint(err))
		}
	}
}
