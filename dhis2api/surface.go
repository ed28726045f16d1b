package dhis2api

import (
	"context"
	"encoding/json"
	"io"
	"iter"
)

type ErrorClass string

const (
	ClassMetadata     ErrorClass = "metadata"
	ClassParent       ErrorClass = "parent"
	ClassAccess       ErrorClass = "access"
	ClassOwnership    ErrorClass = "ownership"
	ClassUnique       ErrorClass = "unique"
	ClassExists       ErrorClass = "exists"
	ClassEnrollment   ErrorClass = "enrollment"
	ClassEvent        ErrorClass = "event"
	ClassMissing      ErrorClass = "missing"
	ClassDeleted      ErrorClass = "deleted"
	ClassValue        ErrorClass = "value"
	ClassMandatory    ErrorClass = "mandatory"
	ClassDate         ErrorClass = "date"
	ClassCompleted    ErrorClass = "completed"
	ClassAssignment   ErrorClass = "assignment"
	ClassProgramRule  ErrorClass = "programRule"
	ClassUnclassified ErrorClass = "unclassified"
)

func ClassOf(code string) ErrorClass                           { return ClassUnclassified }
func Explain(code string, args []string) (reason, hint string) { return "", "" }

// MetadataQuery: Types → per class options; empty Types = everything.
type MetadataQuery struct {
	Classes     map[string]MetadataClassQuery // empty: all classes
	Fields      string                        // ":owner" when empty
	SkipSharing bool
	Defaults    string // EXCLUDE or INCLUDE (when empty)
}
type MetadataClassQuery struct {
	Fields  string
	Filters []string
	Order   string
}

// Metadata is a set of objects by class.
type Metadata map[string][]json.RawMessage

func (c *Client) MetadataExport(ctx context.Context, query MetadataQuery) (Metadata, error) {
	return nil, nil
}
func (c *Client) MetadataStream(ctx context.Context, query MetadataQuery) (io.ReadCloser, error) {
	return nil, nil
}

// MetadataWithDependencies: class "programs", "dataSets", "categoryCombos", "optionSets", "dashboards", "dataElementGroups".
func (c *Client) MetadataWithDependencies(ctx context.Context, class, uid string) (Metadata, error) {
	return nil, nil
}
func (c *Client) List(ctx context.Context, class string, query ListQuery) iter.Seq2[json.RawMessage, error] {
	return nil
}
func (c *Client) Get(ctx context.Context, class, uid, fields string, into any) error { return nil }
func ListAs[T any](ctx context.Context, c *Client, class string, query ListQuery) iter.Seq2[T, error] {
	return nil
}

type ListQuery struct {
	Fields   string // ":owner" when empty
	Filters  []string
	AnyOf    bool // filters joined by OR
	Order    string
	PageSize int
}
type MetadataImportOptions struct {
	Strategy        ImportStrategy
	AtomicMode      string // ALL when empty, or NONE
	DryRun          bool
	SkipSharing     bool
	SkipTranslation bool
	SkipValidation  bool
	Async           bool // run as a job, waited for: for metadata that outlives a proxy's timeout
}
type MetadataReport struct {
	Status   string
	Stats    ImportStats
	Problems []MetadataProblem
}
type MetadataProblem struct{ Class, UID, Code, Message, Property string }

// ImportMetadata: metadata is Metadata, any JSON-able value or an io.Reader of JSON.
func (c *Client) ImportMetadata(ctx context.Context, metadata any, options MetadataImportOptions) (*MetadataReport, error) {
	return nil, nil
}
func (c *Client) ClearCache(ctx context.Context) error { return nil }

type DataValueQuery struct {
	DataSets, Periods, OrgUnits []string
	DataElements                []string
	DataElementGroups           []string
	StartDate, EndDate          string
	Children                    bool
	LastUpdated                 string
	IncludeDeleted              bool
	AttributeOptionCombos       []string
	Limit                       int
}
type DataValue struct {
	DataElement          string `json:"dataElement"`
	Period               string `json:"period"`
	OrgUnit              string `json:"orgUnit"`
	CategoryOptionCombo  string `json:"categoryOptionCombo,omitempty"`
	AttributeOptionCombo string `json:"attributeOptionCombo,omitempty"`
	Value                string `json:"value"`
	Comment              string `json:"comment,omitempty"`
	FollowUp             bool   `json:"followup,omitempty"`
	StoredBy             string `json:"storedBy,omitempty"`
	Created              string `json:"created,omitempty"`
	LastUpdated          string `json:"lastUpdated,omitempty"`
	Deleted              bool   `json:"deleted,omitempty"`
}
type DataValueSet struct {
	DataSet              string       `json:"dataSet,omitempty"`
	CompleteDate         string       `json:"completeDate,omitempty"`
	Period               string       `json:"period,omitempty"`
	OrgUnit              string       `json:"orgUnit,omitempty"`
	AttributeOptionCombo string       `json:"attributeOptionCombo,omitempty"`
	DataValues           []*DataValue `json:"dataValues"`
}
type DataValueImportOptions struct {
	Strategy  ImportStrategy // CREATE_AND_UPDATE when empty
	DryRun    bool
	Force     bool
	SkipAudit bool
	Async     bool
}
type DataValueReport struct {
	Status                              string
	Imported, Updated, Ignored, Deleted int
	Conflicts                           []DataValueConflict
}

// DataValueConflict: Indexes are positions in DataValueSet.DataValues, empty when not told.
type DataValueConflict struct {
	Code, Message, Property string
	Objects                 map[string]string
	Indexes                 []int
}

func (c *Client) DataValues(ctx context.Context, query DataValueQuery) iter.Seq2[*DataValue, error] {
	return nil
}
func (c *Client) ImportDataValues(ctx context.Context, set DataValueSet, options DataValueImportOptions) (*DataValueReport, error) {
	return nil, nil
}

type Completion struct {
	DataSet              string `json:"dataSet"`
	Period               string `json:"period"`
	OrganisationUnit     string `json:"organisationUnit"`
	AttributeOptionCombo string `json:"attributeOptionCombo,omitempty"`
	Date                 string `json:"date,omitempty"`
	StoredBy             string `json:"storedBy,omitempty"`
	LastUpdatedBy        string `json:"lastUpdatedBy,omitempty"`
	LastUpdated          string `json:"lastUpdated,omitempty"`
	Completed            bool   `json:"completed"`
}
type CompletionQuery struct {
	DataSets, Periods, OrgUnits []string
	StartDate, EndDate          string
	Children                    bool
	LastUpdated                 string
}

func (c *Client) Completions(ctx context.Context, query CompletionQuery) iter.Seq2[*Completion, error] {
	return nil
}
func (c *Client) ImportCompletions(ctx context.Context, completions []*Completion, options DataValueImportOptions) (*DataValueReport, error) {
	return nil, nil
}

// DeleteCompletion: a completion that is not there is no error.
func (c *Client) DeleteCompletion(ctx context.Context, completion Completion) error { return nil }

type FileResource struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	ContentType   string `json:"contentType"`
	ContentLength int64  `json:"contentLength,string"`
	ContentMD5    string `json:"contentMd5"`
	StorageStatus string `json:"storageStatus"`
	Domain        string `json:"domain"`
}

// UploadFile: uid is kept; an existing uid is a StatusError with ErrorCode E1119.
func (c *Client) UploadFile(ctx context.Context, uid, name, contentType, domain string, content io.ReadSeeker) (*FileResource, error) {
	return nil, nil
}
func (c *Client) File(ctx context.Context, uid string) (*FileResource, error)        { return nil, nil }
func (c *Client) FileContent(ctx context.Context, uid string) (io.ReadCloser, error) { return nil, nil }
func (c *Client) AttributeFile(ctx context.Context, trackedEntity, attribute, program string) (io.ReadCloser, error) {
	return nil, nil
}
func (c *Client) EventFile(ctx context.Context, event, dataElement string) (io.ReadCloser, error) {
	return nil, nil
}

type ReservedValue struct {
	OwnerUID   string `json:"ownerUid"`
	Key        string `json:"key"`
	Value      string `json:"value"`
	Created    string `json:"created"`
	ExpiryDate string `json:"expiryDate"`
}

// ReserveValues: any number, asked for in calls of at most 1000; required values per pattern (ORG_UNIT_CODE).
func (c *Client) ReserveValues(ctx context.Context, attribute string, count, expiryDays int, required map[string]string) ([]ReservedValue, error) {
	return nil, nil
}

type User struct {
	ID                         string `json:"id,omitempty"`
	Username                   string `json:"username,omitempty"`
	FirstName                  string `json:"firstName,omitempty"`
	Surname                    string `json:"surname,omitempty"`
	Password                   string `json:"password,omitempty"`
	Disabled                   bool   `json:"disabled,omitempty"`
	UserRoles                  []Ref  `json:"userRoles,omitempty"`
	UserGroups                 []Ref  `json:"userGroups,omitempty"`
	OrganisationUnits          []Ref  `json:"organisationUnits,omitempty"`
	DataViewOrganisationUnits  []Ref  `json:"dataViewOrganisationUnits,omitempty"`
	TeiSearchOrganisationUnits []Ref  `json:"teiSearchOrganisationUnits,omitempty"`
}
type Ref struct {
	ID   string `json:"id"`
	Code string `json:"code,omitempty"`
	Name string `json:"name,omitempty"`
	Path string `json:"path,omitempty"`
}
type UserUnits struct{ Capture, View, Search []string }

func (c *Client) CreateUser(ctx context.Context, user User) error                     { return nil }
func (c *Client) SetUserUnits(ctx context.Context, uid string, units UserUnits) error { return nil }
func (c *Client) DisableUser(ctx context.Context, uid string, disabled bool) error    { return nil }
func (c *Client) Setting(ctx context.Context, key string) (string, error)             { return "", nil }
func (c *Client) Settings(ctx context.Context, keys ...string) (map[string]any, error) {
	return nil, nil
}
func (c *Client) SetSetting(ctx context.Context, key, value string) error { return nil }
func (c *Client) UserSettings(ctx context.Context, username string) (map[string]any, error) {
	return nil, nil
}
func (c *Client) SetUserSetting(ctx context.Context, username, key, value string) error { return nil }
func (c *Client) DataStoreNamespaces(ctx context.Context) ([]string, error)             { return nil, nil }
func (c *Client) DataStoreKeys(ctx context.Context, namespace string) ([]string, error) {
	return nil, nil
}
func (c *Client) DataStoreGet(ctx context.Context, namespace, key string, into any) error { return nil }
func (c *Client) DataStorePut(ctx context.Context, namespace, key string, value any) error {
	return nil
}
func (c *Client) TransferOwnership(ctx context.Context, trackedEntity, program, orgUnit string) error {
	return nil
}

type PotentialDuplicate struct {
	ID        string `json:"id"`
	Original  string `json:"original"`
	Duplicate string `json:"duplicate"`
	Status    string `json:"status"`
}

func (c *Client) PotentialDuplicates(ctx context.Context, status string, trackedEntities ...string) iter.Seq2[*PotentialDuplicate, error] {
	return nil
}
