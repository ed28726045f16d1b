package dhis2api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"sync"
)

// errEnd ends an ordered reading.
var errEnd = errors.New("end")

// ordered yields what produce makes of 0, 1, 2..., in that order, making some of them at the same time while the
// caller works on one: as many as ahead says, which is told how many there were so far and the last of them. It
// ends with produce's first error, which errEnd is not.
func ordered[T any](
	ctx context.Context, ahead func(received int, last T) int, produce func(ctx context.Context, index int) (T, error),
) iter.Seq2[T, error] {
	type result struct {
		value T
		err   error
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		var queue []chan result
		next := 0
		launch := func() {
			done, index := make(chan result, 1), next
			next++
			queue = append(queue, done)
			running.Go(func() {
				value, err := produce(ctx, index)
				done <- result{value, err}
			})
		}
		var none T
		for range max(1, ahead(0, none)) {
			launch()
		}
		for received := 1; ; received++ {
			first := <-queue[0]
			queue = queue[1:]
			if errors.Is(first.err, errEnd) {
				return
			}
			if first.err != nil {
				yield(first.value, first.err)
				return
			}
			for len(queue) < max(1, ahead(received, first.value)) {
				launch()
			}
			if !yield(first.value, nil) {
				return
			}
		}
	}
}

// stride is how many objects to ask for at once: the page size, or a divisor of it once the server failed.
// It is shared by the readers of one query.
type stride struct {
	mu    sync.Mutex
	sizes []int // the page size and its divisors, each dividing the one before
	at    int   // index of the current one
	good  int   // answers since the last change
	need  int   // answers needed before a larger one is tried; doubles with each failure
}

func newStride(size int) *stride {
	s := &stride{need: 1}
	for s.sizes = []int{size}; size > 1; s.sizes = append(s.sizes, size) {
		size /= smallestFactor(size)
	}
	return s
}

func smallestFactor(n int) int {
	for factor := 2; factor*factor <= n; factor++ {
		if n%factor == 0 {
			return factor
		}
	}
	return n
}

// at most remaining, and such that offset is the beginning of a page.
func (s *stride) next(offset, remaining int) (size int, smallest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, size = range s.sizes[s.at:] {
		if offset%size == 0 && size <= remaining {
			break
		}
	}
	return size, size == s.sizes[len(s.sizes)-1]
}

func (s *stride) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.good++; s.at > 0 && s.good >= s.need {
		s.at--
		s.good = 0
	}
}

// failed makes what comes next smaller than size.
func (s *stride) failed(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sizes[s.at] >= size && s.at < len(s.sizes)-1 {
		s.at++
	}
	s.good, s.need = 0, min(2*s.need, 64)
}

// reader reads the pages of one list.
type reader[T any] struct {
	client *Client
	path   string     // "/api/tracker/events"
	list   string     // the JSON key of the list
	query  url.Values // all but page and pageSize
	first  int        // page to begin with, from 1
	size   int        // objects a page
	many   bool       // many pages are expected
	err    error      // the query is not possible: the only thing yielded
}

// pages reads until a page is empty: a short page is not the last (DHIS2 2.42 drops from a page what the
// account may not see).
func (r reader[T]) pages(ctx context.Context) iter.Seq2[Page[*T], error] {
	if r.err != nil {
		return func(yield func(Page[*T], error) bool) { yield(Page[*T]{}, r.err) }
	}
	stride := newStride(r.size)
	// Several at a time only when there is, or proves to be, more: most lists are short.
	ahead := func(received int, last Page[*T]) int {
		if len(last.Items) >= r.size || received == 0 && r.many {
			return r.client.options.Parallel
		}
		return min(r.client.options.Parallel, received)
	}
	return ordered(ctx, ahead, func(ctx context.Context, index int) (Page[*T], error) {
		number := r.first + index
		items, err := r.page(ctx, number, stride)
		if err != nil {
			return Page[*T]{}, fmt.Errorf("page %d: %w", number, err)
		}
		if len(items) == 0 {
			return Page[*T]{}, errEnd
		}
		return Page[*T]{Number: number, Items: items}, nil
	})
}

// page reads one page, in parts where the server cannot give it whole.
func (r reader[T]) page(ctx context.Context, number int, stride *stride) ([]*T, error) {
	var items []*T
	failures := 0
	for offset, end := (number-1)*r.size, number*r.size; offset < end; {
		size, smallest := stride.next(offset, end-offset)
		part, err := r.part(ctx, offset/size+1, size, !smallest)
		if err != nil && !smallest && tooMuch(err) {
			failures++
			r.client.options.Logger.WarnContext(ctx, "page failed, asking for less", "path", r.path, "pageSize", size, "error", err)
			stride.failed(size)
			if sleepErr := r.client.options.Sleep(ctx, backoff(failures)); sleepErr != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		failures = 0
		stride.succeeded()
		items = append(items, part...)
		offset += size
	}
	return items, nil
}

// part is one request; once, it leaves failures that a smaller part may cure to the caller.
func (r reader[T]) part(ctx context.Context, page, size int, once bool) ([]*T, error) {
	query := make(url.Values, len(r.query)+2)
	for key, values := range r.query {
		query[key] = values
	}
	query.Set("page", strconv.Itoa(page))
	query.Set("pageSize", strconv.Itoa(size))
	return listOf[T](ctx, r.client, &request{method: http.MethodGet, path: r.path, query: query, once: once}, r.list, size, nil)
}

// listOf is the list named key in the answer to r, of about hint items; what stands beside it goes to other.
func listOf[T any](ctx context.Context, c *Client, r *request, key string, hint int, other map[string]json.RawMessage) ([]*T, error) {
	var items []*T
	err := c.retry(ctx, r, func(ctx context.Context) error {
		items = make([]*T, 0, hint)
		answer, err := c.attempt(ctx, r)
		if err != nil {
			return err
		}
		defer answer.body.Close()
		found, err := eachOf(json.NewDecoder(answer.body), key, other, func(item *T) bool {
			items = append(items, item)
			return true
		})
		if err == nil && !found {
			err = fmt.Errorf("%w: it has no list %q", errFormat, key)
		}
		if err != nil {
			return answer.failure(err)
		}
		return nil
	})
	return items, err
}

// eachOf walks a JSON object and hands over the items of the list named key as they are decoded, until take
// returns false. What stands beside the list goes to other, which may be nil. It tells whether there was such a
// list; one that is null is empty.
func eachOf[T any](decoder *json.Decoder, key string, other map[string]json.RawMessage, take func(*T) bool) (found bool, err error) {
	if err := expect(decoder, '{'); err != nil {
		return false, err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return found, err
		}
		if name != key {
			var value json.RawMessage
			if err := decoder.Decode(&value); err != nil {
				return found, err
			}
			if text, isText := name.(string); isText && other != nil {
				other[text] = value
			}
			continue
		}
		found = true
		begin, err := decoder.Token()
		if err != nil {
			return found, err
		}
		if begin == nil {
			continue
		}
		if begin != json.Delim('[') {
			return found, fmt.Errorf("%w: %q is not a list", errFormat, key)
		}
		for decoder.More() {
			item := new(T)
			if err := decoder.Decode(item); err != nil {
				return found, err
			}
			if !take(item) {
				return found, nil
			}
		}
		if err := expect(decoder, ']'); err != nil {
			return found, err
		}
	}
	return found, expect(decoder, '}')
}

func expect(decoder *json.Decoder, delimiter json.Delim) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	if token != delimiter {
		return fmt.Errorf("%w: %v instead of %v", errFormat, token, delimiter)
	}
	return nil
}

// itemsOf yields the items of pages.
func itemsOf[T any](pages iter.Seq2[Page[*T], error]) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for page, err := range pages {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}
