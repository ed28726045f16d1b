package dhis2api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// User is an account as it is created; reading users goes by ListAs and Get.
type User struct {
	ID        string `json:"id,omitempty"`
	Username  string `json:"username,omitempty"`
	FirstName string `json:"firstName,omitempty"`
	Surname   string `json:"surname,omitempty"`
	// Password is never read back. Without one the account exists and nobody can log in to it.
	Password                   string `json:"password,omitempty"`
	Disabled                   bool   `json:"disabled,omitempty"`
	UserRoles                  []Ref  `json:"userRoles,omitempty"` // DHIS2 wants at least one
	UserGroups                 []Ref  `json:"userGroups,omitempty"`
	OrganisationUnits          []Ref  `json:"organisationUnits,omitempty"`
	DataViewOrganisationUnits  []Ref  `json:"dataViewOrganisationUnits,omitempty"`
	TeiSearchOrganisationUnits []Ref  `json:"teiSearchOrganisationUnits,omitempty"`
}

// CreateUser makes an account. A username that is taken and a password that is too weak are a StatusError (409).
func (c *Client) CreateUser(ctx context.Context, user User) error {
	if err := c.postJSON(ctx, "/api/users", nil, user, false, nil); err != nil {
		return fmt.Errorf("user %s: %w", user.Username, err)
	}
	return nil
}

// UserUnits are the org units of an account: where it may write, whose data it may view, where it may search.
// Each counts with everything below it.
type UserUnits struct{ Capture, View, Search []string }

// operation is one step of a JSON patch. To add a list is to replace it.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// SetUserUnits replaces the org units of the account with the uid; a nil list stays as it is.
func (c *Client) SetUserUnits(ctx context.Context, uid string, units UserUnits) error {
	var patch []operation
	for _, set := range []struct {
		property string
		uids     []string
	}{
		{"organisationUnits", units.Capture}, {"dataViewOrganisationUnits", units.View}, {"teiSearchOrganisationUnits", units.Search},
	} {
		if set.uids == nil {
			continue
		}
		refs := make([]Ref, 0, len(set.uids))
		for _, unit := range set.uids {
			refs = append(refs, Ref{ID: unit})
		}
		patch = append(patch, operation{"add", "/" + set.property, refs})
	}
	if len(patch) == 0 {
		return nil
	}
	return c.Patch(ctx, "users", uid, patch)
}

// SetPassword gives the account with the uid another password.
func (c *Client) SetPassword(ctx context.Context, uid, password string) error {
	return c.Patch(ctx, "users", uid, []operation{{"replace", "/password", password}})
}

// Patch changes properties of a metadata object by a JSON patch (RFC 6902), any value that encodes to one.
func (c *Client) Patch(ctx context.Context, class, uid string, patch any) error {
	if !ValidUID(uid) {
		return fmt.Errorf("%s: %q is not a uid", class, uid)
	}
	r := &request{
		method: http.MethodPatch, path: "/api/" + class + "/" + uid, contentType: "application/json-patch+json", repeatable: true,
	}
	if err := r.setBody(patch); err != nil {
		return fmt.Errorf("%s %s: %w", class, uid, err)
	}
	return c.do(ctx, r, nil)
}

// DisableUser switches the account with the uid off, or on again.
func (c *Client) DisableUser(ctx context.Context, uid string, disabled bool) error {
	if !ValidUID(uid) {
		return fmt.Errorf("users: %q is not a uid", uid)
	}
	verb := "enabled"
	if disabled {
		verb = "disabled"
	}
	return c.do(ctx, &request{method: http.MethodPost, path: "/api/users/" + url.PathEscape(uid) + "/" + verb, repeatable: true}, nil)
}
