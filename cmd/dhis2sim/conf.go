package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// javaProperty is the value of -Dname=value among the options of a Java machine, "" when it is not there.
func javaProperty(options, name string) string {
	for _, option := range strings.Fields(options) {
		if value, ok := strings.CutPrefix(option, "-D"+name+"="); ok {
			return value
		}
	}
	return ""
}

// databaseOf is the URL of the database that a dhis.conf names.
func databaseOf(path string, getenv func(string) string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("properties could not be loaded: %w", err)
	}
	properties := parseProperties(string(raw), getenv)
	const jdbc = "jdbc:postgresql:"
	address, ok := strings.CutPrefix(properties["connection.url"], jdbc)
	if !ok {
		return "", fmt.Errorf("%s: connection.url does not begin with %q", path, jdbc)
	}
	if !strings.HasPrefix(address, "//") { // jdbc:postgresql:NAME is on this machine
		address = "//localhost/" + address
	}
	u, err := url.Parse("postgres:" + address)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, errors.New("connection.url cannot be understood"))
	}
	u.User, u.RawQuery = url.UserPassword(properties["connection.username"], properties["connection.password"]), ""
	return u.String(), nil
}

// variable is a variable of the environment in a value.
var variable = regexp.MustCompile(`\$\{(\w+)\}`)

// parseProperties reads Java properties as DHIS2 does: variables of the environment are put in, blanks at the end cut off.
func parseProperties(text string, getenv func(string) string) map[string]string {
	properties := map[string]string{}
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continues(line) && i+1 < len(lines) {
			i++
			line = line[:len(line)-1] + strings.TrimLeft(lines[i], " \t\f")
		}
		end := 0
		for end < len(line) && !strings.ContainsRune("=: \t\f", rune(line[end])) {
			if line[end] == '\\' {
				end++
			}
			end++
		}
		end = min(end, len(line))
		value := strings.TrimLeft(line[end:], " \t\f")
		if value != "" && (value[0] == '=' || value[0] == ':') {
			value = strings.TrimLeft(value[1:], " \t\f")
		}
		value = variable.ReplaceAllStringFunc(unescape(value), func(named string) string {
			if found := getenv(named[2 : len(named)-1]); found != "" {
				return found
			}
			return named
		})
		properties[unescape(line[:end])] = strings.TrimRight(value, " \t\f")
	}
	return properties
}

// continues tells whether a line goes on in the next: it ends in an odd number of backslashes.
func continues(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// unescape undoes the escapes of Java properties.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		i++
		switch text[i] {
		case 'n':
			out.WriteByte('\n')
		case 't':
			out.WriteByte('\t')
		case 'r':
			out.WriteByte('\r')
		case 'f':
			out.WriteByte('\f')
		case 'u':
			if code, err := strconv.ParseUint(text[i+1:min(i+5, len(text))], 16, 16); err == nil && i+5 <= len(text) {
				out.WriteRune(rune(code))
				i += 4
			}
		default:
			out.WriteByte(text[i])
		}
	}
	return out.String()
}
