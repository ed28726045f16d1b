package snapshot

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dhis2-fieldkit/fieldkit/dhis2api"
)

// partObjects is the number of lines after which a part is closed and the next begun.
const partObjects = 50_000

// Batch is a piece of a stream that becomes durable together: its parts appear with its receipt, or not at
// all. It is for one goroutine.
type Batch struct {
	w      *Writer
	stream string
	open   map[partSeries]*partFile
	full   []*partFile
	// copied counts the objects that came out of the snapshot before; source is the stream that they were copied for,
	// and whole what that cost when it was last read whole.
	copied map[Kind]int64
	source string
	whole  int64
	err    error
	ended  bool
}

// Batch begins the next piece of a stream. Abandon or Commit ends it.
func (w *Writer) Batch(stream string) *Batch {
	b := &Batch{w: w, stream: stream, open: map[partSeries]*partFile{}, copied: map[Kind]int64{}}
	switch {
	case w.broken != nil:
		b.err = w.broken
	case w.finished:
		b.err = ErrFinished
	case w.receipts == nil:
		b.err = errors.New("the snapshot's writer is closed")
	}
	return b
}

// Add writes one object as a line of a part of that kind and subject.
func (b *Batch) Add(kind Kind, subject Subject, object any) error {
	if b.err != nil {
		return b.err
	}
	series := partSeries{kind, subject}
	p := b.open[series]
	if p == nil {
		number := b.w.numbers[series] + 1
		for _, full := range b.full {
			if full.part.Kind == kind && full.part.Subject == subject {
				number++
			}
		}
		name := string(kind)
		if uid := subject.UID(); uid != "" {
			name += "-" + uid
		}
		name = fmt.Sprintf("%s-%05d.jsonl%s", name, number, partSuffix)
		var err error
		p, err = b.begin(Part{
			Name: path.Join(string(b.w.face), name), Face: b.w.face, Kind: kind, Subject: subject, Number: number,
		})
		if err != nil {
			return err
		}
	}
	if err := p.add(object); err != nil {
		return b.fail(p, err)
	}
	if p.part.Objects >= partObjects {
		return b.close(series, p)
	}
	return nil
}

// Copy is Add of an object that came out of the snapshot before, for the receipt.
func (b *Batch) Copy(kind Kind, subject Subject, object any) error {
	if err := b.Add(kind, subject, object); err != nil {
		return err
	}
	b.copied[kind]++
	return nil
}

// begin opens a part; it is closed by Commit.
func (b *Batch) begin(part Part) (*partFile, error) {
	if b.err != nil {
		return nil, b.err
	}
	packer, err := b.w.packer()
	if err != nil {
		return nil, err
	}
	p, err := newPartFile(b.w.disk, b.w.path(part.Name), part, b.w.keys, packer)
	if err != nil {
		b.w.takeBack(packer)
		b.err = fmt.Errorf("cannot write %s: %w", part.Name, err)
		return nil, b.err
	}
	b.open[partSeries{part.Kind, part.Subject}] = p
	return p, nil
}

// close finishes a part under its temporary name.
func (b *Batch) close(series partSeries, p *partFile) error {
	if err := p.finish(); err != nil {
		return b.fail(p, err)
	}
	delete(b.open, series)
	b.w.takeBack(p.packed)
	b.full = append(b.full, p)
	return nil
}

func (b *Batch) fail(p *partFile, err error) error {
	b.err = fmt.Errorf("cannot write %s: %w", p.part.Name, err)
	return b.err
}

// Commit makes the batch durable. The cursor is kept for Writer.Cursor, and done says that the stream ends
// here. A batch without objects leaves a receipt only. On an error nothing of the batch is left.
func (b *Batch) Commit(cursor string, done bool) error {
	defer b.Abandon()
	if b.err != nil {
		return b.err
	}
	for series, p := range b.open {
		if err := b.close(series, p); err != nil {
			return err
		}
	}
	named := make([]string, 0, len(b.full))
	r := receipt{Stream: b.stream, Cursor: cursor, Done: done, For: b.source, Whole: b.whole}
	if len(b.copied) > 0 {
		r.Copied = b.copied
	}
	err := b.publish(&named, r)
	if err != nil {
		for _, name := range named {
			_ = b.w.disk.remove(name)
		}
		b.err = fmt.Errorf("cannot finish a batch of %s: %w", b.stream, err)
		return b.err
	}
	b.ended = true
	return nil
}

// publish gives the parts their names and then writes the receipt: a receipt never names what is not there.
func (b *Batch) publish(named *[]string, r receipt) error {
	slices.SortFunc(b.full, func(a, b *partFile) int { return strings.Compare(a.part.Name, b.part.Name) })
	for _, p := range b.full {
		if err := b.w.disk.rename(p.temporary(), p.path); err != nil {
			return err
		}
		*named = append(*named, p.path)
		r.Parts = append(r.Parts, p.part)
	}
	if len(*named) > 0 {
		if err := b.w.disk.sync(filepath.Dir((*named)[0])); err != nil {
			return err
		}
	}
	var traffic dhis2api.Traffic
	if b.w.traffic != nil {
		traffic = b.w.traffic()
		since := traffic.Minus(b.w.counted)
		r.Traffic = &since
	}
	if err := b.w.append(r); err != nil {
		return err
	}
	b.w.counted = traffic
	b.w.remember(r)
	return nil
}

// Abandon removes what the batch wrote, unless it was committed. It may be called twice.
func (b *Batch) Abandon() {
	if b.ended {
		return
	}
	b.ended = true
	for _, p := range b.open {
		p.abandon()
		b.w.takeBack(p.packed)
	}
	for _, p := range b.full {
		p.abandon()
	}
	b.open, b.full = nil, nil
	if b.err == nil {
		b.err = errors.New("the batch is over")
	}
}
