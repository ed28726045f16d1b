package dhis2api

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
)

// Settings reads system settings: those with the keys, all when none is given. Numbers come as float64.
func (c *Client) Settings(ctx context.Context, keys ...string) (map[string]any, error) {
	values := parameters{}
	values.setList("key", keys)
	settings := map[string]any{}
	if err := c.getJSON(ctx, "/api/systemSettings", url.Values(values), &settings); err != nil {
		return nil, err
	}
	return settings, nil
}

// Setting reads one system setting as text, "" where it is not set.
func (c *Client) Setting(ctx context.Context, key string) (string, error) {
	settings, err := c.Settings(ctx, key)
	if err != nil || settings[key] == nil {
		return "", err
	}
	return fmt.Sprint(settings[key]), nil
}

// SetSetting sets a system setting; NotFound tells that DHIS2 does not know it.
func (c *Client) SetSetting(ctx context.Context, key, value string) error {
	return c.do(ctx, &request{
		method: http.MethodPost, path: "/api/systemSettings/" + url.PathEscape(key), query: url.Values{"value": {value}}, repeatable: true,
	}, nil)
}

// UserSettings reads what an account has set for itself, without the system's defaults.
func (c *Client) UserSettings(ctx context.Context, username string) (map[string]any, error) {
	settings := map[string]any{}
	err := c.getJSON(ctx, "/api/userSettings", url.Values{"user": {username}, "useFallback": {"false"}}, &settings)
	if err != nil {
		return nil, err
	}
	return settings, nil
}

// SetUserSetting sets one setting of an account.
func (c *Client) SetUserSetting(ctx context.Context, username, key, value string) error {
	return c.do(ctx, &request{
		method: http.MethodPost, path: "/api/userSettings/" + url.PathEscape(key),
		query: url.Values{"user": {username}, "value": {value}}, repeatable: true,
	}, nil)
}

// DeleteUserSetting makes an account follow the system's setting again.
func (c *Client) DeleteUserSetting(ctx context.Context, username, key string) error {
	return c.do(ctx, &request{
		method: http.MethodDelete, path: "/api/userSettings/" + url.PathEscape(key), query: url.Values{"user": {username}}, repeatable: true,
	}, nil)
}

func dataStorePath(parts ...string) string {
	path := "/api/dataStore"
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// DataStoreNamespaces lists the namespaces of the data store that the account may see.
func (c *Client) DataStoreNamespaces(ctx context.Context) ([]string, error) {
	var names []string
	err := c.getJSON(ctx, dataStorePath(), nil, &names)
	return names, err
}

// DataStoreKeys lists the keys of a namespace; one that does not exist has none.
func (c *Client) DataStoreKeys(ctx context.Context, namespace string) ([]string, error) {
	var keys []string
	err := c.getJSON(ctx, dataStorePath(namespace), nil, &keys)
	if NotFound(err) {
		return nil, nil
	}
	return keys, err
}

// DataStoreGet decodes an entry into into; NotFound tells that there is none.
func (c *Client) DataStoreGet(ctx context.Context, namespace, key string, into any) error {
	return c.getJSON(ctx, dataStorePath(namespace, key), nil, into)
}

// DataStorePut sets an entry, new or not.
func (c *Client) DataStorePut(ctx context.Context, namespace, key string, value any) error {
	r := &request{method: http.MethodPut, path: dataStorePath(namespace, key), repeatable: true}
	if err := r.setBody(value); err != nil {
		return fmt.Errorf("data store %s %s: %w", namespace, key, err)
	}
	err := c.do(ctx, r, nil)
	if NotFound(err) {
		return c.postJSON(ctx, r.path, nil, value, false, nil)
	}
	return err
}

// TransferOwnership makes org unit the owner of a tracked entity in a program. The tracked entity's own org
// unit and its updated time stay.
func (c *Client) TransferOwnership(ctx context.Context, trackedEntity, program, orgUnit string) error {
	query := url.Values{"trackedEntity": {trackedEntity}, "program": {program}, "orgUnit": {orgUnit}}
	if c.info.Version.Minor < 42 {
		query = url.Values{"trackedEntityInstance": {trackedEntity}, "program": {program}, "ou": {orgUnit}}
	}
	return c.do(ctx, &request{method: http.MethodPut, path: trackerPath + "/ownership/transfer", query: query, repeatable: true}, nil)
}

// ReservedValue is a value of a generated attribute that nobody else gets until it expires.
type ReservedValue struct {
	OwnerUID   string `json:"ownerUid"` // the attribute
	Key        string `json:"key"`      // the pattern with its variable parts filled in, but for the generated one
	Value      string `json:"value"`
	Created    string `json:"created"`    // in the server's zone
	ExpiryDate string `json:"expiryDate"` // in the server's zone
}

// ReserveValues reserves values of a generated attribute, for that many days. Required holds what the pattern
// asks for ("ORG_UNIT_CODE"; see RequiredValues), and may be nil. Every call reserves new values, and so does
// a repetition after a failure: what is reserved and not used is lost until it expires. On error, what was
// reserved so far is returned too.
func (c *Client) ReserveValues(ctx context.Context, attribute string, count, expiryDays int, required map[string]string) ([]ReservedValue, error) {
	const most = 1000 // a request
	if !ValidUID(attribute) {
		return nil, fmt.Errorf("attribute: %q is not a uid", attribute)
	}
	var all []ReservedValue
	for left := count; left > 0; {
		query := url.Values{"numberToReserve": {fmt.Sprint(min(left, most))}, "expiration": {fmt.Sprint(expiryDays)}}
		for name, value := range required {
			query.Set(name, value)
		}
		var some []ReservedValue
		if err := c.getJSON(ctx, "/api/trackedEntityAttributes/"+attribute+"/generateAndReserve", query, &some); err != nil {
			return all, fmt.Errorf("reserving values of attribute %s: %w", attribute, err)
		}
		if len(some) == 0 {
			return all, fmt.Errorf("reserving values of attribute %s: the server gives no more", attribute)
		}
		all = append(all, some...)
		left -= len(some)
	}
	return all, nil
}

// RequiredValues names what the pattern of a generated attribute needs to be given: what ReserveValues must be
// told, and what it may be told.
func (c *Client) RequiredValues(ctx context.Context, attribute string) (required, optional []string, err error) {
	if !ValidUID(attribute) {
		return nil, nil, fmt.Errorf("attribute: %q is not a uid", attribute)
	}
	var answer struct{ Required, Optional []string }
	err = c.getJSON(ctx, "/api/trackedEntityAttributes/"+attribute+"/requiredValues", nil, &answer)
	return answer.Required, answer.Optional, err
}

// PotentialDuplicate is a mark that two tracked entities may be one.
type PotentialDuplicate struct {
	ID        string `json:"id"`
	Original  string `json:"original"`
	Duplicate string `json:"duplicate"`
	Status    string `json:"status"` // OPEN, INVALID, MERGED
}

// PotentialDuplicates lists the marks with the status (OPEN when empty, or ALL), those of the tracked entities
// only where some are given.
func (c *Client) PotentialDuplicates(ctx context.Context, status string, trackedEntities ...string) iter.Seq2[*PotentialDuplicate, error] {
	values := parameters{}
	values.set("status", status)
	values.setList("trackedEntities", trackedEntities)
	values.set("pageSize", "200")
	return func(yield func(*PotentialDuplicate, error) bool) {
		for duplicate, err := range pagedList[PotentialDuplicate](ctx, c, "/api/potentialDuplicates", "potentialDuplicates", values) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&duplicate, nil) {
				return
			}
		}
	}
}
