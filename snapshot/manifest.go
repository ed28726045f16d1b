package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Format is the version of the format on disk that this package writes.
const Format = 1

const manifestName = "manifest.json"

// Face names one of the two faces of a snapshot, and is its directory's name.
type Face string

// The faces.
const (
	// Taken is the scope as central gave it.
	Taken Face = "taken"
	// Loaded is the scope as the kit gave it back after loading.
	Loaded Face = "loaded"
)

// Kind says what the lines of a part are.
type Kind string

// The kinds of parts.
const (
	// TrackedEntities: dhis2api.TrackedEntity with the enrollments of one program, or with none where the
	// part's subject is a tracked entity type; their relationships are in parts of their own.
	TrackedEntities Kind = "tracker"
	// Events: dhis2api.Event of a program without registration.
	Events Kind = "events"
	// Relationships: dhis2api.Relationship, each once, the ends reduced to their uids.
	Relationships Kind = "relationships"
	// DataValues: dhis2api.DataValue of a data set.
	DataValues Kind = "values"
	// Completions: dhis2api.Completion of a data set.
	Completions Kind = "completions"
	// Beyond: dhis2api.TrackedEntity, of those in the scope that its date leaves out, as much as tells when one of them
	// changes.
	Beyond Kind = "beyond"
	// Document: one JSON value instead of lines.
	Document Kind = "document"
)

// Subject is what the objects of a part have in common: at most one field is set, each a uid.
type Subject struct {
	Program           string `json:"program,omitempty"`
	TrackedEntityType string `json:"trackedEntityType,omitempty"`
	DataSet           string `json:"dataSet,omitempty"`
}

// UID is the one that is set, or empty.
func (s Subject) UID() string { return s.Program + s.TrackedEntityType + s.DataSet }

// Part is one file of a snapshot.
type Part struct {
	// Name is the file's path below the snapshot's directory, with slashes.
	Name string `json:"name"`
	Face Face   `json:"face"`
	Kind Kind   `json:"kind"`
	Subject
	// Number counts the parts of one face, kind and subject from 1.
	Number int `json:"number,omitempty"`
	// Objects is the number of lines; 1 for a document.
	Objects int64 `json:"objects"`
	// Bytes is the size of the file as stored.
	Bytes int64 `json:"bytes"`
	// SHA256 is the sum of the file as stored, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// Server is what tells one DHIS2 server from another (a copy of production shares its system id, hence the
// rest).
type Server struct {
	URL string `json:"url"`
	// SystemID is empty on a server that never made one.
	SystemID string `json:"systemId,omitempty"`
	Version  string `json:"version"`
	// TimeZone is the zone that the server's times are written in, such as America/Panama.
	TimeZone string `json:"timeZone,omitempty"`
	// RootOrgUnits are the uids of the server's level 1 org units, sorted.
	RootOrgUnits []string `json:"rootOrgUnits"`
}

// Same tells whether two descriptions are of one server. Version and zone do not count, since servers are
// updated, and neither do level 1 org units that one of them has in addition.
func (s Server) Same(other Server) bool {
	return strings.TrimRight(s.URL, "/") == strings.TrimRight(other.URL, "/") && s.SystemID == other.SystemID &&
		(holdsAll(s.RootOrgUnits, other.RootOrgUnits) || holdsAll(other.RootOrgUnits, s.RootOrgUnits))
}

func holdsAll(all, some []string) bool {
	return !slices.ContainsFunc(some, func(uid string) bool { return !slices.Contains(all, uid) })
}

func (s Server) String() string {
	return fmt.Sprintf("%s (system id %q, root org units %s)", s.URL, s.SystemID, strings.Join(s.RootOrgUnits, ", "))
}

// FaceInfo is one finished face.
type FaceInfo struct {
	Server Server `json:"server"`
	// Account is the name of the account that read the server.
	Account    string    `json:"account"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	Parts      []Part    `json:"parts"`
	// Take says what reading it cost.
	Take *TakeReceipt `json:"take,omitempty"`
}

// Manifest is what a snapshot holds. It names no patient.
type Manifest struct {
	Format int                `json:"format"`
	Scope  *Scope             `json:"scope"`
	Faces  map[Face]*FaceInfo `json:"faces"`
}

// Central is the server that the snapshot was taken from.
func (m *Manifest) Central() Server {
	if taken := m.Faces[Taken]; taken != nil {
		return taken.Server
	}
	return Server{}
}

// Finished tells whether a face is there, whole.
func (m *Manifest) Finished(face Face) bool { return m.Faces[face] != nil }

// Parts are the parts of one face and kind in the order in which they were written; nil where there is none.
func (m *Manifest) Parts(face Face, kind Kind) []Part {
	info := m.Faces[face]
	if info == nil {
		return nil
	}
	var parts []Part
	for _, part := range info.Parts {
		if part.Kind == kind {
			parts = append(parts, part)
		}
	}
	return parts
}

// Objects is the number of objects of one kind in a face.
func (m *Manifest) Objects(face Face, kind Kind) int64 {
	var sum int64
	for _, part := range m.Parts(face, kind) {
		sum += part.Objects
	}
	return sum
}

// checksumLine opens a manifest: valid JSON together with what follows, and a sum over every byte after it.
func checksumLine(rest []byte) []byte {
	sum := sha256.Sum256(rest)
	return []byte(`{"sha256":"` + hex.EncodeToString(sum[:]) + `",` + "\n")
}

func encodeManifest(m *Manifest) ([]byte, error) {
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	rest := append(bytes.TrimPrefix(content, []byte("{\n")), '\n')
	return append(checksumLine(rest), rest...), nil
}

func decodeManifest(content []byte) (*Manifest, error) {
	end := bytes.IndexByte(content, '\n')
	if end < 0 || !bytes.Equal(content[:end+1], checksumLine(content[end+1:])) {
		return nil, &DamagedError{Part: manifestName, Reason: "its checksum does not fit its content"}
	}
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, &DamagedError{Part: manifestName, Reason: "not JSON", Err: err}
	}
	if m.Format != Format {
		return nil, &MismatchError{What: "format", Stored: fmt.Sprint("version ", m.Format), Wanted: fmt.Sprint("version ", Format)}
	}
	if m.Scope == nil || m.Faces == nil {
		return nil, &DamagedError{Part: manifestName, Reason: "it names no scope or no face"}
	}
	return &m, nil
}

// ReadManifest reads what the snapshot in a directory holds, without any key. The error is ErrNoSnapshot
// where there is none, DamagedError where it is not what was written, and MismatchError where another
// version of fieldkit wrote a format that this one does not know.
func ReadManifest(directory string) (*Manifest, error) {
	content, err := os.ReadFile(filepath.Join(directory, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoSnapshot, directory)
	}
	if err != nil {
		return nil, err
	}
	return decodeManifest(content)
}
