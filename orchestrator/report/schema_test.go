package report

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaPath = "../../docs/report-1.schema.json"

// TestSchemaIsThatOfReport holds docs/report-1.schema.json to the type Report: what a field is comes from its Go comment.
// Whoever adds a field writes the schema anew: go test ./orchestrator/report -run TestSchemaIsThatOfReport -update.
func TestSchemaIsThatOfReport(t *testing.T) {
	got := schemaOf(t)
	if *update {
		if err := os.WriteFile(schemaPath, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the published schema is not that of Report; write it anew with -update (-want +got):\n%s", diff)
	}
}

func TestReportsSatisfyTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	full, empty := []byte(asJSON(t, sample())), []byte(asJSON(t, New()))
	for _, row := range []struct {
		name    string
		content []byte
		valid   bool
	}{
		{"everything", full, true},
		{"nothing", empty, true},
		{"a key that is not known", bytes.Replace(full, []byte(`"kit"`), []byte(`"new": 1, "kit"`), 1), true},
		{"another format", bytes.Replace(full, []byte(`"format": 1`), []byte(`"format": 2`), 1), false},
		{"no sums", bytes.Replace(full, []byte(`"sums"`), []byte(`"sum"`), 1), false},
		{"a list that is none", bytes.Replace(empty, []byte(`"conflicts": []`), []byte(`"conflicts": null`), 1), false},
		{"a choice that is none", bytes.Replace(full, []byte(`"choice": "local"`), []byte(`"choice": "both"`), 1), false},
		{"no time", bytes.Replace(full, []byte(`"started": "2026`), []byte(`"started": "x2026`), 1), false},
	} {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(row.content))
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if err := schema.Validate(value); (err == nil) != row.valid {
			t.Errorf("%s: valid %v, want %v: %v", row.name, err == nil, row.valid, err)
		}
	}
}

// TestColumnsAreDescribed holds the guide to the columns of conflicts.csv.
func TestColumnsAreDescribed(t *testing.T) {
	guide, err := os.ReadFile("../../docs/results.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := writeCSV(&out, New()); err != nil {
		t.Fatal(err)
	}
	head := strings.TrimSuffix(strings.TrimPrefix(out.String(), byteOrderMark), "\r\n")
	var described []string
	_, section, _ := strings.Cut(string(guide), "\n## conflicts.csv\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if cell, isRow := strings.CutPrefix(line, "| `"); isRow {
			names, _, _ := strings.Cut(cell, " |")
			for name := range strings.SplitSeq(strings.Trim(names, "`"), "`, `") {
				described = append(described, name)
			}
		}
	}
	if diff := cmp.Diff(strings.Split(head, ","), described); diff != "" {
		t.Errorf("columns of the file and of the guide (-file +guide):\n%s", diff)
	}
}

// schemaNode is a part of a JSON schema, its keys in the order of reading.
type schemaNode struct {
	Schema      string      `json:"$schema,omitempty"`
	Ref         string      `json:"$ref,omitempty"`
	Title       string      `json:"title,omitempty"`
	Description string      `json:"description,omitempty"`
	Type        string      `json:"type,omitempty"`
	Format      string      `json:"format,omitempty"`
	Pattern     string      `json:"pattern,omitempty"`
	Const       int         `json:"const,omitempty"`
	Enum        []string    `json:"enum,omitempty"`
	Required    []string    `json:"required,omitempty"`
	Properties  properties  `json:"properties,omitempty"`
	Items       *schemaNode `json:"items,omitempty"`
	Values      *schemaNode `json:"additionalProperties,omitempty"`
	Definitions properties  `json:"$defs,omitempty"`
}

// properties are schemas by name, in the order of the fields.
type properties []property

type property struct {
	name string
	node *schemaNode
}

func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, one := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		for _, part := range []any{one.name, one.node} {
			content, err := json.Marshal(part)
			if err != nil {
				return nil, err
			}
			b.Write(content)
			if part == any(one.name) {
				b.WriteByte(':')
			}
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schemaOf is the JSON schema of Report.
func schemaOf(t *testing.T) []byte {
	t.Helper()
	w := schemaWriter{t: t, comments: map[string]string{}, constants: map[string][]string{}}
	w.readSource()
	top := w.object(reflect.TypeFor[Report]())
	top.Schema, top.Title = "https://json-schema.org/draft/2020-12/schema", "fieldkit report, format 1"
	top.Description = "How a trip stands after a run of fieldkit reconcile: report.json in the trip's folder. Readers ignore keys that they do not know."
	slices.SortFunc(w.definitions, func(a, b property) int { return strings.Compare(a.name, b.name) })
	top.Definitions = w.definitions
	content, err := json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, content, "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

type schemaWriter struct {
	t *testing.T
	// comments are those of the package's types (Report) and fields (Report.Sent), constants its values by their type.
	comments    map[string]string
	constants   map[string][]string
	definitions properties
}

// readSource reads comments and constants from the package's files.
func (w *schemaWriter) readSource() {
	w.t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			if general, isGeneral := declaration.(*ast.GenDecl); isGeneral {
				w.readDeclaration(general)
			}
		}
	}
}

func (w *schemaWriter) readDeclaration(declaration *ast.GenDecl) {
	for _, spec := range declaration.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			w.comments[s.Name.Name] = oneLine(declaration.Doc.Text())
			structure, isStruct := s.Type.(*ast.StructType)
			if !isStruct {
				continue
			}
			for _, field := range structure.Fields.List {
				for _, name := range field.Names {
					w.comments[s.Name.Name+"."+name.Name] = oneLine(field.Doc.Text())
				}
			}
		case *ast.ValueSpec:
			kind, typed := s.Type.(*ast.Ident)
			if declaration.Tok != token.CONST || !typed {
				continue
			}
			for _, value := range s.Values {
				if literal, isLiteral := value.(*ast.BasicLit); isLiteral {
					w.constants[kind.Name] = append(w.constants[kind.Name], strings.Trim(literal.Value, `"`))
				}
			}
		}
	}
}

func oneLine(comment string) string { return strings.Join(strings.Fields(comment), " ") }

// node is the schema of a type.
func (w *schemaWriter) node(kind reflect.Type) *schemaNode {
	w.t.Helper()
	switch {
	case kind == reflect.TypeFor[time.Time]():
		// An offset of seconds is none in RFC 3339, and none is written.
		return &schemaNode{Type: "string", Format: "date-time", Pattern: `^\d{4}-\d{2}-\d{2}T`}
	case kind.Kind() == reflect.Pointer:
		return w.node(kind.Elem())
	case kind.Kind() == reflect.Struct:
		if !slices.ContainsFunc(w.definitions, func(p property) bool { return p.name == kind.Name() }) {
			w.definitions = append(w.definitions, property{kind.Name(), &schemaNode{}})
			place := len(w.definitions) - 1
			node := w.object(kind)
			node.Description = w.comments[kind.Name()]
			w.definitions[place].node = node
		}
		return &schemaNode{Ref: "#/$defs/" + kind.Name()}
	case kind.Kind() == reflect.Slice:
		return &schemaNode{Type: "array", Items: w.node(kind.Elem())}
	case kind.Kind() == reflect.Map:
		return &schemaNode{Type: "object", Values: w.node(kind.Elem())}
	case kind.Kind() == reflect.String:
		return &schemaNode{Type: "string", Enum: w.constants[kind.Name()]}
	case kind.Kind() == reflect.Bool:
		return &schemaNode{Type: "boolean"}
	case kind.Kind() == reflect.Int, kind.Kind() == reflect.Int64:
		return &schemaNode{Type: "integer"}
	case kind.Kind() == reflect.Float64:
		return &schemaNode{Type: "number"}
	}
	w.t.Fatalf("the schema has no word for a %v", kind)
	return nil
}

// object is the schema of a struct, what it embeds among its own fields.
func (w *schemaWriter) object(kind reflect.Type) *schemaNode {
	w.t.Helper()
	node := &schemaNode{Type: "object"}
	for i := range kind.NumField() {
		field := kind.Field(i)
		if field.Anonymous {
			embedded := w.object(field.Type)
			node.Required = append(node.Required, embedded.Required...)
			node.Properties = append(node.Properties, embedded.Properties...)
			continue
		}
		name, options, tagged := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if name == "" {
			w.t.Fatalf("%s.%s has no name in JSON", kind.Name(), field.Name)
		}
		property := property{name, w.node(field.Type)}
		property.node.Description = w.comments[kind.Name()+"."+field.Name]
		if kind == reflect.TypeFor[Report]() && name == "format" {
			property.node.Const = Format
		}
		node.Properties = append(node.Properties, property)
		if !tagged || !strings.Contains(options, "omit") {
			node.Required = append(node.Required, name)
		}
	}
	return node
}
