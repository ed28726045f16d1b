package journal

import (
	"context"
	"fmt"
	"time"
)

// Identity says that a person of the kit may be, or is, one whom central holds under another uid.
type Identity struct {
	// Person is the tracked entity's uid on the kit, AtCentral that at central.
	Person, AtCentral string
	// Attribute is, of an offer, the unique attribute of which both have the same value; empty where central has merged the
	// kit's person into the other one.
	Attribute string
	// Adopted makes it an alias: somebody decided that they are the same. Else it is an offer, which may be decided so.
	Adopted bool
	// Who decided, when, and about which conflict, by its number; the zero values for an offer.
	Who    string
	At     time.Time
	Number int
}

const identitySchema = `
CREATE TABLE IF NOT EXISTS identity(
	person TEXT NOT NULL, adopted INTEGER NOT NULL, at_central TEXT NOT NULL, attribute TEXT NOT NULL,
	who TEXT NOT NULL, at TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(person, adopted)) WITHOUT ROWID;
`

// Identify writes an offer or an alias, replacing the person's earlier one. An alias ends the person's offer.
func (t *Tx) Identify(i Identity) error {
	_, err := t.tx.ExecContext(t.ctx, `INSERT INTO identity(person, adopted, at_central, attribute, who, at, number) VALUES(?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(person, adopted) DO UPDATE SET at_central = excluded.at_central, attribute = excluded.attribute, who = excluded.who,
		at = excluded.at, number = excluded.number`,
		i.Person, i.Adopted, i.AtCentral, i.Attribute, i.Who, i.At.UTC().Format(time.RFC3339Nano), i.Number)
	if err == nil && i.Adopted {
		return t.EndOffer(i.Person)
	}
	if err != nil {
		return fmt.Errorf("cannot write to the journal who trackedEntity %s is at central: %w", i.Person, err)
	}
	return nil
}

// EndOffer removes the offer about a person; without one it does nothing.
func (t *Tx) EndOffer(person string) error {
	if _, err := t.tx.ExecContext(t.ctx, `DELETE FROM identity WHERE person = ? AND adopted = 0`, person); err != nil {
		return fmt.Errorf("cannot write to the journal who trackedEntity %s is at central: %w", person, err)
	}
	return nil
}

// Identities returns all offers and aliases, in the order of the persons' uids.
func (j *Journal) Identities(ctx context.Context) ([]Identity, error) {
	rows, err := j.db.QueryContext(ctx, `SELECT person, adopted, at_central, attribute, who, at, number FROM identity ORDER BY person, adopted`)
	if err != nil {
		return nil, fmt.Errorf("cannot read from the journal who is who at central: %w", err)
	}
	defer rows.Close()
	var all []Identity
	for rows.Next() {
		var i Identity
		var at string
		if err := rows.Scan(&i.Person, &i.Adopted, &i.AtCentral, &i.Attribute, &i.Who, &at, &i.Number); err != nil {
			return nil, fmt.Errorf("cannot read from the journal who is who at central: %w", err)
		}
		if i.At, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return nil, fmt.Errorf("cannot read from the journal who is who at central: %w", err)
		}
		all = append(all, i)
	}
	return all, rows.Err()
}
