package orchestrator

import (
	"context"
	"net/url"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api/dhis2db"
)

// localDatabase is the postgres:// URL of the database of the kit's DHIS2; "" where fieldkit has no access to it.
// That of the kit's own containers is reached as long as they run.
func (k *Kit) localDatabase(ctx context.Context) (string, error) {
	if !k.ownStack() {
		return k.config.Local.Database, nil
	}
	s, err := k.openStack(ctx)
	if err != nil || s == nil {
		return "", err
	}
	return s.databaseURL(ctx)
}

// openDatabase connects to the database of the kit's DHIS2. The error is a *dhis2db.CompareAllError where there
// is no access to it. A password that the URL lacks comes from PGPASSWORD.
func (k *Kit) openDatabase(ctx context.Context) (*dhis2db.Database, error) {
	address, err := k.localDatabase(ctx)
	if err != nil {
		return nil, err
	}
	if address == "" {
		return nil, &dhis2db.CompareAllError{Reason: noDatabase}
	}
	options := dhis2db.Options{}
	if u, err := url.Parse(address); err == nil {
		if _, has := u.User.Password(); !has {
			options.Password = k.options.Getenv("PGPASSWORD")
		}
	}
	return dhis2db.Open(ctx, address, options)
}

// databaseIfAny connects to the database of the kit's DHIS2; nil where there is no access to it. The function that comes
// with it closes it, and is to be called in any case.
func (k *Kit) databaseIfAny(ctx context.Context) (*dhis2db.Database, func()) {
	database, err := k.openDatabase(ctx)
	if err != nil {
		return nil, func() {}
	}
	return database, func() { _ = database.Close(context.WithoutCancel(ctx)) }
}

// noDatabase is the one reason that needs no mention while reconcile runs: the owner has chosen it.
const noDatabase = ConfigFile + " does not say where it is (local: {database: ...})"
