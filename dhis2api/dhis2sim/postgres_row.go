package dhis2sim

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"strings"
	"time"
)

// rowKey tells a row from all others: its table and the numbers in its identity.
type rowKey struct {
	table string
	id    [5]int64
}

// storedRow is what is remembered of a row in the database.
type storedRow struct {
	rowKey
	hash uint64
}

// tableRow is a row as it ought to be stored.
type tableRow struct {
	rowKey
	columns []string
	values  []any // of the columns: int64, string, bool, time.Time as the server's clock shows it, nil and the types below
}

// Values that are more than they look.
type (
	// jsonText is JSON, in a column of that type.
	jsonText string
	// geoJSON is a geometry, NULL when it is empty.
	geoJSON string
	// once is stored with a new row and left alone from then on.
	once struct{ value any }
	// along is stored when a row is, but is no reason to store it.
	along struct{ value any }
)

// row makes a row from the names and values of its columns, those of its identity first.
func (d *dialect) row(table string, columns ...any) tableRow {
	r := tableRow{rowKey: rowKey{table: table}, columns: make([]string, 0, len(columns)/2), values: make([]any, 0, len(columns)/2)}
	for i := 0; i < len(columns); i += 2 {
		name, _ := columns[i].(string)
		r.columns, r.values = append(r.columns, name), append(r.values, columns[i+1])
	}
	for i, column := range d.byName[table].identity {
		if r.columns[i] != column {
			panic("row of " + table + " without " + column) // a mistake in this package
		}
		r.id[i], _ = r.values[i].(int64)
	}
	return r
}

// hash is equal for rows that are stored alike.
func (r tableRow) hash(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	var number [9]byte
	integer := func(kind byte, n uint64) {
		number[0] = kind
		binary.LittleEndian.PutUint64(number[1:], n)
		_, _ = h.Write(number[:])
	}
	word := func(kind byte, s string) {
		integer(kind, uint64(len(s)))
		_, _ = h.WriteString(s)
	}
	for _, value := range r.values {
		switch v := value.(type) {
		case nil:
			integer('0', 0)
		case int64:
			integer('i', uint64(v)) //nolint:gosec // only compared
		case float64:
			integer('f', math.Float64bits(v))
		case string:
			word('s', v)
		case jsonText:
			word('j', string(v))
		case geoJSON:
			word('g', string(v))
		case bool:
			word('b', strconv.FormatBool(v))
		case time.Time:
			integer('t', uint64(v.UnixNano())) //nolint:gosec // only compared
		case once, along:
		default:
			word('?', fmt.Sprint(v))
		}
	}
	return h.Sum64()
}

// argument adds a value to the arguments and returns what stands for it in SQL.
func argument(arguments *[]any, value any) string {
	switch v := value.(type) {
	case once:
		return argument(arguments, v.value)
	case along:
		return argument(arguments, v.value)
	case jsonText:
		*arguments = append(*arguments, string(v))
	case geoJSON:
		if v == "" {
			*arguments = append(*arguments, nil)
		} else {
			*arguments = append(*arguments, string(v))
		}
		return "ST_GeomFromGeoJSON($" + strconv.Itoa(len(*arguments)) + "::text)"
	default:
		*arguments = append(*arguments, value)
	}
	return "$" + strconv.Itoa(len(*arguments))
}

// insert is the SQL that stores a new row.
func (r tableRow) insert() (sql string, arguments []any) {
	places := make([]string, len(r.values))
	for i, value := range r.values {
		places[i] = argument(&arguments, value)
	}
	return "INSERT INTO " + r.table + " (" + strings.Join(r.columns, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")", arguments
}

// update is the SQL that stores what changed in a row.
func (r tableRow) update(d *dialect) (sql string, arguments []any) {
	where := r.where(d, &arguments)
	var set []string
	for i, value := range r.values {
		if _, fixed := value.(once); !fixed && i >= len(d.byName[r.table].identity) {
			set = append(set, r.columns[i]+" = "+argument(&arguments, value))
		}
	}
	return "UPDATE " + r.table + " SET " + strings.Join(set, ", ") + where, arguments
}

// delete is the SQL that removes a row.
func (k rowKey) delete(d *dialect) (sql string, arguments []any) {
	where := k.where(d, &arguments)
	return "DELETE FROM " + k.table + where, arguments
}

func (k rowKey) where(d *dialect, arguments *[]any) string {
	var conditions []string
	for i, column := range d.byName[k.table].identity {
		conditions = append(conditions, column+" = "+argument(arguments, k.id[i]))
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

// orNull is a text, NULL when it is empty.
func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// at is an instant as the server's clock shows it, NULL when it is not set: DHIS2 stores times without a zone.
func (p *postgres) at(i instant) any {
	if !i.set() {
		return nil
	}
	return i.time().In(p.zone)
}

// moment is a JSON time or date in the server's zone, NULL when it is none.
func (p *postgres) moment(value any) any {
	given := text(value)
	if len(given) > 23 {
		given = given[:23]
	}
	for _, layout := range []string{"2006-01-02T15:04:05.000", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, given, p.zone); err == nil {
			return t
		}
	}
	return nil
}

// neverSynchronized is what DHIS2 stores before the first synchronization.
func (p *postgres) neverSynchronized() any { return once{time.Unix(0, 0).In(p.zone)} }
