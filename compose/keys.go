package compose

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// realised are the keys that a compose file may hold here: of a service, and at the top. "*" stands for any
// name, "[]" for any element of a list. Every other key is refused.
var realised = []string{
	"cap_add", "cap_drop", "command", "cpu_shares", "cpus",
	"configs.[].gid", "configs.[].mode", "configs.[].source", "configs.[].target", "configs.[].uid",
	"depends_on.*.condition", "depends_on.*.required",
	"dns", "entrypoint", "environment.*", "extra_hosts.*",
	"healthcheck.disable", "healthcheck.interval", "healthcheck.retries", "healthcheck.start_period", "healthcheck.test", "healthcheck.timeout",
	"hostname", "image", "init", "labels.*",
	"logging.driver", "logging.options.*",
	"mem_limit", "mem_reservation", "memswap_limit",
	"networks.*.aliases", "oom_score_adj", "pids_limit",
	"ports.[].host_ip", "ports.[].mode", "ports.[].protocol", "ports.[].published", "ports.[].target",
	"read_only", "restart",
	"secrets.[].gid", "secrets.[].mode", "secrets.[].source", "secrets.[].target", "secrets.[].uid",
	"security_opt", "shm_size", "stop_grace_period", "stop_signal", "sysctls.*", "tmpfs",
	"ulimits.*", "ulimits.*.hard", "ulimits.*.soft", "user",
	"volumes.[].bind.create_host_path", "volumes.[].read_only", "volumes.[].source", "volumes.[].target", "volumes.[].type", "volumes.[].volume.nocopy",
	"working_dir",
}

// realisedKeys are the paths of all keys that may be there.
func realisedKeys() []tree.Path {
	paths := []tree.Path{
		"name",
		"configs.*.content", "configs.*.file",
		"networks.*.driver_opts.*", "networks.*.internal", "networks.*.ipam.config.[].gateway", "networks.*.ipam.config.[].ip_range",
		"networks.*.ipam.config.[].subnet", "networks.*.labels.*",
		"secrets.*.environment", "secrets.*.file",
		"volumes.*.driver", "volumes.*.driver_opts.*", "volumes.*.labels.*",
	}
	for _, key := range realised {
		paths = append(paths, tree.Path("services.*."+key))
	}
	return paths
}

// keyLines knows where the keys of an override stand.
type keyLines struct {
	file  string // "" without an override
	lines map[string]int
}

// variable is one in a value of a compose file, without a default: "$NAME" or "${NAME}", not "$$NAME".
var variable = regexp.MustCompile(`(?:^|[^$])(?:\$\$)*\$(?:\{(\w+)\}|([A-Za-z_]\w*))`)

// readKeyLines reads where an override's keys stand. It refuses a variable that has no value: Compose would
// go on with an empty one. What it cannot parse it leaves to compose-go to explain.
func readKeyLines(path string, content []byte, variables types.Mapping) (keyLines, error) {
	found := keyLines{file: path, lines: map[string]int{}}
	parsed, err := parser.ParseBytes(content, 0)
	if err != nil {
		return found, nil //nolint:nilerr // compose-go says what is wrong
	}
	var walk func(node ast.Node, at string) error
	walk = func(node ast.Node, at string) error {
		switch node := node.(type) {
		case *ast.TagNode:
			return walk(node.Value, at)
		case *ast.AnchorNode:
			return walk(node.Value, at)
		case *ast.LiteralNode:
			return walk(node.Value, at)
		case *ast.SequenceNode:
			for _, value := range node.Values {
				if err := walk(value, at+".[]"); err != nil {
					return err
				}
			}
		case ast.MapNode:
			for entries := node.MapRange(); entries.Next(); {
				token := entries.Key().GetToken()
				key := strings.TrimPrefix(at+"."+token.Value, ".")
				if _, ok := found.lines[key]; !ok {
					found.lines[key] = token.Position.Line
				}
				if err := walk(entries.Value(), key); err != nil {
					return err
				}
			}
		case *ast.StringNode:
			for _, match := range variable.FindAllStringSubmatch(node.Value, -1) {
				if name := match[1] + match[2]; !has(variables, name) {
					return &KeyError{File: path, Line: node.Token.Position.Line, Key: at, Why: fmt.Sprintf("the variable %s has no value here; write $$ for a plain $", name)}
				}
			}
		}
		return nil
	}
	for _, document := range parsed.Docs {
		if document.Body == nil {
			continue
		}
		if err := walk(document.Body, ""); err != nil {
			return found, err
		}
	}
	return found, nil
}

func has(variables types.Mapping, name string) bool {
	_, ok := variables[name]
	return ok
}

// fail is the error for a key, with the place where it or the nearest key above it stands.
func (l keyLines) fail(key, why string) error {
	failure := &KeyError{File: l.file, Key: key, Why: why}
	if l.file == "" {
		failure.File = embeddedName
	}
	for at := key; at != "" && failure.Line == 0; {
		failure.Line = l.lines[at]
		dot := strings.LastIndexByte(at, '.')
		if dot < 0 {
			break
		}
		at = at[:dot]
	}
	return failure
}

// unknownKey is how compose-go says that a key is none of the compose specification's: with the key's path, or
// with the path of what holds it and the key's name.
var unknownKey = regexp.MustCompile(`^ *(?:(\S+) false schema|(?:(\S+) )?additional properties '([^']+)' not allowed)`)

// explain is the error for a file that compose-go does not take.
func (l keyLines) explain(err error) error {
	why := strings.TrimPrefix(err.Error(), "validating "+l.file+": ")
	match := unknownKey.FindStringSubmatch(why)
	if match == nil {
		return &KeyError{File: l.file, Why: strings.TrimPrefix(why, "failed to parse "+l.file+": ")}
	}
	key := match[1]
	if key == "" {
		key = strings.TrimPrefix(match[2]+"."+match[3], ".")
	}
	return l.fail(key, "there is no such key in a compose file")
}
