package dhis2sim

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// loader fills an empty server with what is in the database. Rows that refer to what is not there are left out: somebody
// removed that by SQL.
type loader struct {
	p      *postgres
	s      *Server
	tx     pgx.Tx
	names  map[string]map[int64]string // postgres.numbers the other way round
	people map[string]*person          // by the JSON in which they are stored
}

// record is one row that was read.
type record []any

func (r record) text(i int) string { t, _ := r[i].(string); return t }
func (r record) flag(i int) bool   { b, _ := r[i].(bool); return b }

func (r record) number(i int) int64 {
	switch n := r[i].(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	}
	return 0
}

// time is a time as the server's clock showed it; zero when there is none.
func (l *loader) time(v any) time.Time {
	t, ok := v.(time.Time)
	if !ok {
		return time.Time{}
	}
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), l.p.zone)
}

func (l *loader) instant(v any) instant {
	if v == nil {
		return none
	}
	return instant(l.time(v).UnixMilli())
}

// each reads rows one by one.
func (l *loader) each(ctx context.Context, sql string, read func(record) error) error {
	rows, err := l.tx.Query(ctx, sql)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
		if err := read(values); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// named notes the number of a row.
func (l *loader) named(kind, name string, number int64) {
	if l.names[kind] == nil {
		l.names[kind], l.p.numbers[kind] = map[int64]string{}, map[string]int64{}
	}
	l.names[kind][number], l.p.numbers[kind][name] = name, number
	l.p.last = max(l.p.last, number)
}

func (l *loader) load(ctx context.Context) error {
	for _, load := range []func(context.Context) error{
		l.metadata, l.users, l.collections, l.files,
		l.entities, l.enrollments, l.events, l.notes, l.relationships, l.remainders,
		l.values,
	} {
		if err := load(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) metadata(ctx context.Context) error {
	if err := l.each(ctx, "SELECT id, class, object::text FROM dhis2sim_metadata ORDER BY id", func(r record) error {
		value, err := readJSON(strings.NewReader(r.text(2)))
		if err != nil {
			return err
		}
		o, _ := value.(object)
		l.s.metadata.put(r.text(1), o)
		l.named(r.text(1), text(o["id"]), r.number(0))
		return nil
	}); err != nil {
		return err
	}
	return l.each(ctx, "SELECT datasetelementid, datasetid, dataelementid FROM datasetelement", func(r record) error {
		l.named("dataSetElements", l.names["dataSets"][r.number(1)]+" "+l.names["dataElements"][r.number(2)], r.number(0))
		return nil
	})
}

// users reads who may log in; SQL may have changed a password or disabled a user.
func (l *loader) users(ctx context.Context) error {
	return l.each(ctx, "SELECT uid, password, disabled FROM userinfo", func(r record) error {
		uid := r.text(0)
		if o := l.s.object("users", uid); o != nil && (o["disabled"] == true) != r.flag(2) {
			l.s.change("users", uid, "disabled", r.flag(2))
		}
		if r[1] != nil {
			l.s.logins.mu.Lock()
			l.s.logins.passwords[uid] = r.text(1)
			l.s.logins.mu.Unlock()
		}
		return nil
	})
}

// person is who is named in a JSON column.
func (l *loader) person(stored string) *person {
	if stored == "" {
		return nil
	}
	if known := l.people[stored]; known != nil {
		return known
	}
	var p *storedPerson
	if json.Unmarshal([]byte(stored), &p) != nil || p == nil {
		return nil
	}
	l.people[stored] = l.known(p)
	return l.people[stored]
}

func (l *loader) known(p *storedPerson) *person {
	if p == nil {
		return nil
	}
	return l.s.tracker.person(person{p.UID, p.Username, p.FirstName, p.Surname})
}

// user is a user as records keep one, nil when there is none of that number.
func (l *loader) user(number int64) *person {
	o := l.s.object("users", l.names["users"][number])
	if o == nil {
		return nil
	}
	return l.s.tracker.person(person{text(o["id"]), text(o["username"]), text(o["firstName"]), text(o["surname"])})
}

func (l *loader) collections(ctx context.Context) error {
	s := l.s
	if err := l.each(ctx, "SELECT systemsettingid, name, value FROM systemsetting", func(r record) error {
		l.named("settings", r.text(1), r.number(0))
		s.settings[r.text(1)] = r.text(2)
		return nil
	}); err != nil {
		return err
	}
	if err := l.each(ctx, "SELECT keyjsonvalueid, namespace, namespacekey, jbvalue::text FROM keyjsonvalue", func(r record) error {
		namespace, key := r.text(1), r.text(2)
		l.named("dataStore", namespace+"\x00"+key, r.number(0))
		if s.dataStore[namespace] == nil {
			s.dataStore[namespace] = map[string]any{}
		}
		value, err := readJSON(strings.NewReader(r.text(3)))
		s.dataStore[namespace][key] = value
		return err
	}); err != nil {
		return err
	}
	if err := l.each(ctx, "SELECT id, userinfoid, name, value::text FROM dhis2sim_usersetting", func(r record) error {
		user := l.names["users"][r.number(1)]
		l.named("userSettings", user+" "+r.text(2), r.number(0))
		if s.userValues[user] == nil {
			s.userValues[user] = map[string]any{}
		}
		value, err := readJSON(strings.NewReader(r.text(3)))
		s.userValues[user][r.text(2)] = value
		return err
	}); err != nil {
		return err
	}
	if err := l.each(ctx, "SELECT id, uid, userinfoid, keyhash, expires FROM dhis2sim_token", func(r record) error {
		l.named("tokens", r.text(1), r.number(0))
		s.logins.mu.Lock()
		defer s.logins.mu.Unlock()
		s.logins.tokens[r.text(3)] = &token{uid: r.text(1), user: l.names["users"][r.number(2)], expires: l.time(r[4])}
		return nil
	}); err != nil {
		return err
	}
	return l.counters(ctx)
}

// counters reads which values were handed out.
func (l *loader) counters(ctx context.Context) error {
	s := l.s
	if err := l.each(ctx, "SELECT id, owneruid, key, counter FROM sequentialnumbercounter", func(r record) error {
		name := r.text(1) + " " + r.text(2)
		l.named("counters", name, r.number(0))
		s.counters[name] = int(r.number(3)) - 1
		return nil
	}); err != nil {
		return err
	}
	return l.each(ctx, "SELECT reservedvalueid, owneruid, value, key, created, expirydate FROM reservedvalue", func(r record) error {
		name := r.text(1) + " " + r.text(2)
		l.named("reserved", name, r.number(0))
		s.reserved[name] = reservation{r.text(3), l.time(r[4]), l.time(r[5])}
		return nil
	})
}

func (l *loader) files(ctx context.Context) error {
	return l.each(ctx, `SELECT f.fileresourceid, f.uid, f.created, f.lastupdated, f.name, f.contenttype, f.contentmd5, f.storagekey, f.isassigned, f.domain, f.userid, c.content
		FROM fileresource f LEFT JOIN dhis2sim_file c USING (fileresourceid)`, func(r record) error {
		uid := r.text(1)
		l.named("fileResources", uid, r.number(0))
		content, _ := r[11].([]byte)
		if l.p.files != "" {
			var err error
			if content, err = os.ReadFile(filepath.Join(l.p.files, filepath.FromSlash(r.text(7)))); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		f := &fileResource{content: content, key: r.text(7), assigned: r.flag(8), record: object{
			"id": uid, "name": r.text(4), "displayName": r.text(4), "domain": r.text(9), "contentType": r.text(5), "contentLength": len(content),
			"contentMd5": r.text(6), "created": l.s.timestamp(l.time(r[2])), "lastUpdated": l.s.timestamp(l.time(r[3])),
		}}
		if by := l.s.account(l.names["users"][r.number(10)]); by != nil {
			f.record["createdBy"], f.record["lastUpdatedBy"], f.record["user"] = by.reference(), by.reference(), by.reference()
		}
		l.s.files[uid] = f
		return nil
	})
}

func (l *loader) values(ctx context.Context) error {
	iso := map[int64]string{}
	if err := l.each(ctx, "SELECT p.periodid, t.name, p.startdate FROM period p JOIN periodtype t USING (periodtypeid)", func(r record) error {
		if found, ok := periodOf(r.text(1), l.time(r[2])); ok {
			iso[r.number(0)] = found.iso
			l.named("period", found.iso, r.number(0))
		}
		return nil
	}); err != nil {
		return err
	}
	combos, units := l.names["categoryOptionCombos"], l.names["organisationUnits"]
	if err := l.each(ctx, `SELECT dataelementid, periodid, sourceid, categoryoptioncomboid, attributeoptioncomboid, value, storedby, created, lastupdated, comment, followup, deleted
		FROM datavalue ORDER BY created, dataelementid, periodid, sourceid, categoryoptioncomboid, attributeoptioncomboid`, func(r record) error {
		key := dataValueKey{l.names["dataElements"][r.number(0)], iso[r.number(1)], units[r.number(2)], combos[r.number(3)], combos[r.number(4)]}
		if key.dataElement != "" && key.period != "" && key.orgUnit != "" {
			l.s.aggregate.put(key, &aggregateValue{
				value: r.text(5), storedBy: r.text(6), created: l.time(r[7]), lastUpdated: l.time(r[8]), comment: r.text(9), followup: r.flag(10), deleted: r.flag(11),
			})
		}
		return nil
	}); err != nil {
		return err
	}
	return l.each(ctx, `SELECT datasetid, periodid, sourceid, attributeoptioncomboid, date, storedby, completed
		FROM completedatasetregistration ORDER BY lastupdated, datasetid, periodid, sourceid`, func(r record) error {
		key := completionKey{l.names["dataSets"][r.number(0)], iso[r.number(1)], units[r.number(2)], combos[r.number(3)]}
		if key.dataSet != "" && key.period != "" && key.orgUnit != "" {
			l.s.aggregate.complete(key, &completion{date: l.time(r[4]), storedBy: r.text(5), completed: r.flag(6)})
		}
		return nil
	})
}

// byAge orders data values, which a JSON column does not: as they came.
func byAge(values []dataValue) {
	slices.SortFunc(values, func(a, b dataValue) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.dataElement, b.dataElement))
	})
}
