package snapshot

import (
	"bufio"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// answersName is the folder in the directory of a face where answers are remembered until the face is finished.
const answersName = "answers"

// Answers stands between a client and a server, and remembers on disk what the server answered to questions: a run
// that was killed is, when it is begun again, told what the server has said already. It is an http.RoundTripper.
//
// What is remembered is every whole 200 to a GET, encrypted as the snapshot is: the kind of the content and the content,
// no header that says who asked. Asked again by the same run the server answers itself; what the next run asks as often
// as the one before is answered from disk, as long as there is something. Never remembered are questions about the
// server and the account, by which a run finds out where it is, those that use something up, such as a number, and the
// content of files, which is durable as soon as it was read.
//
// An answer is remembered once its reader has seen its end. So a killed run repeats at most the requests that were in
// flight: whose answers it had not read to the end, though the last bytes may have been on their way or waiting in the
// machine. After a power cut it may also be the answers of the last seconds, which the disk had not kept.
type Answers struct {
	next http.RoundTripper

	mu sync.Mutex
	// directory is empty while nothing is remembered.
	directory string
	keys      *Keys
	// asked counts the answers by question in this run.
	asked map[string]int
}

// NewAnswers is one that passes everything on to next, until it is opened.
func NewAnswers(next http.RoundTripper) *Answers { return &Answers{next: next} }

// Open remembers from now on in the writer's face, and answers from what earlier runs left there.
func (a *Answers) Open(w *Writer) error {
	directory := filepath.Join(w.path(string(w.face)), answersName)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("cannot remember answers: %w", err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("cannot remember answers: %w", err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), temporarySuffix) {
			if err := os.Remove(filepath.Join(directory, entry.Name())); err != nil {
				return fmt.Errorf("cannot remember answers: %w", err)
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.directory, a.keys, a.asked = directory, w.keys, map[string]int{}
	return nil
}

// Close remembers nothing any more; what is remembered waits for the next run. It may be called twice.
func (a *Answers) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.directory = ""
}

// ForgetRecords forgets the answers about records, once what they became is durable. No such question may be in flight.
func (a *Answers) ForgetRecords() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.directory == "" {
		return nil
	}
	entries, err := os.ReadDir(a.directory)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), aboutRecords) {
			if err := os.Remove(filepath.Join(a.directory, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// What the names of answers begin with: those about records, of which there are many, and all others.
const (
	aboutRecords = "r-"
	aboutOthers  = "o-"
)

// questionOf names a question by a digest of it.
func questionOf(r *http.Request) string {
	about := aboutOthers
	for _, records := range []string{"/api/tracker/", "/api/dataValueSets", "/api/completeDataSetRegistrations"} {
		if strings.Contains(r.URL.Path, records) {
			about = aboutRecords
		}
	}
	sum := sha256.Sum256([]byte(r.URL.Path + "?" + r.URL.RawQuery + "\n" + r.Header.Get("Accept")))
	return about + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]))
}

// remembers tells whether the answer to a request is worth remembering, and may be.
func remembers(r *http.Request) bool {
	path := r.URL.Path
	if r.Method != http.MethodGet || !strings.Contains(path, "/api/") {
		return false
	}
	for _, never := range []string{"/api/me", "/api/system/", "/api/tasks", "/api/ping"} {
		if strings.Contains(path+"/", strings.TrimSuffix(never, "/")+"/") {
			return false
		}
	}
	isFile := strings.HasSuffix(path, "/file") || strings.HasSuffix(path, "/data") && strings.Contains(path, "/fileResources/")
	return !isFile && !strings.Contains(strings.ToLower(path), "generate")
}

// RoundTrip implements http.RoundTripper.
func (a *Answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	directory, keys := a.directory, a.keys
	a.mu.Unlock()
	if directory == "" || !remembers(r) {
		return a.next.RoundTrip(r)
	}
	question := questionOf(r)
	a.mu.Lock()
	next := a.asked[question]
	a.mu.Unlock()
	if remembered := openAnswer(answerName(directory, question, next), keys, r); remembered != nil {
		a.place(question)
		return remembered, nil
	}
	answer, err := a.next.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		return answer, err
	}
	kept, err := a.keep(directory, question, keys, answer)
	if err != nil {
		_ = answer.Body.Close()
		return nil, err
	}
	answer.Body = kept
	return answer, nil
}

// answerName is where an answer to a question lies: the first that a run had to it is number 0.
func answerName(directory, question string, number int) string {
	return filepath.Join(directory, fmt.Sprintf("%s-%d%s", question, number, partSuffix))
}

// place is the number of the next answer to a question, which is taken with that.
func (a *Answers) place(question string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	number := a.asked[question]
	a.asked[question]++
	return number
}

// answerHead is the first line of a remembered answer.
type answerHead struct {
	ContentType string `json:"contentType"`
	// Question is the path alone, for whoever looks into it.
	Question string `json:"question"`
}

// openAnswer is a remembered answer; nil where there is none that can be read to its end.
func openAnswer(name string, keys *Keys, r *http.Request) *http.Response {
	file, err := os.Open(name)
	if err != nil {
		return nil
	}
	answer, err := readAnswer(file, keys, r)
	if err == nil {
		// Once through, before anybody relies on it: a power cut may have left half of it.
		_, err = io.Copy(io.Discard, answer.Body)
	}
	if err == nil {
		_ = answer.Body.Close()
		if file, err = os.Open(name); err == nil {
			answer, err = readAnswer(file, keys, r)
		}
	}
	if err != nil {
		_ = file.Close()
		return nil
	}
	return answer
}

func readAnswer(file *os.File, keys *Keys, r *http.Request) (*http.Response, error) {
	plain, err := age.Decrypt(bufio.NewReader(file), keys.identities...)
	if err != nil {
		return nil, err
	}
	unpacked, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, err
	}
	content := bufio.NewReader(unpacked)
	line, err := content.ReadBytes('\n')
	var head answerHead
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	if err != nil {
		unpacked.Close()
		return nil, err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: -1,
		Header: http.Header{"Content-Type": {head.ContentType}},
		Body:   rememberedBody{content, func() error { unpacked.Close(); return file.Close() }},
	}, nil
}

type rememberedBody struct {
	io.Reader
	close func() error
}

func (b rememberedBody) Close() error { return b.close() }

// keep makes the body of an answer write itself down while it is read.
func (a *Answers) keep(directory, question string, keys *Keys, answer *http.Response) (io.ReadCloser, error) {
	file, err := os.CreateTemp(directory, question+"-*"+temporarySuffix)
	if err != nil {
		return nil, fmt.Errorf("cannot remember an answer: %w", err)
	}
	k := &keeping{answers: a, directory: directory, question: question, body: answer.Body, file: file}
	if k.sealed, err = age.Encrypt(file, keys.recipients...); err == nil {
		k.packed, err = zstd.NewWriter(k.sealed, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	if err == nil {
		head, _ := json.Marshal(answerHead{answer.Header.Get("Content-Type"), answer.Request.URL.Path}) // two strings always can be
		_, err = k.packed.Write(append(head, '\n'))
	}
	if err != nil {
		k.abandon()
		return nil, fmt.Errorf("cannot remember an answer: %w", err)
	}
	return k, nil
}

// keeping is the body of an answer that is written down while it is read.
type keeping struct {
	answers             *Answers
	directory, question string
	body                io.ReadCloser
	file                *os.File
	sealed              io.WriteCloser
	packed              *zstd.Encoder
	// ended: nothing more is written, be it because all is, or because something failed.
	ended bool
	err   error
}

// Read reads on, and remembers.
func (k *keeping) Read(p []byte) (int, error) {
	n, err := k.body.Read(p)
	if k.ended {
		return n, err
	}
	if _, failed := k.packed.Write(p[:n]); failed != nil {
		k.abandon()
		k.err = fmt.Errorf("cannot remember an answer: %w", failed)
		return n, k.err
	}
	switch {
	case errors.Is(err, io.EOF):
		if failed := k.finish(); failed != nil {
			return n, failed
		}
	case err != nil:
		k.abandon()
	}
	return n, err
}

// mostBehind is how much may follow the end of the JSON in an answer: blanks.
const mostBehind = 4096

// Close remembers an answer of which its reader has seen the end of what it wanted, and forgets any other.
func (k *keeping) Close() error {
	if !k.ended {
		if _, err := io.Copy(io.Discard, io.LimitReader(k, mostBehind)); err != nil || !k.ended {
			k.abandon()
		}
	}
	return k.body.Close()
}

// finish gives what is written its name.
func (k *keeping) finish() error {
	k.ended = true
	err := errors.Join(k.packed.Close(), k.sealed.Close(), k.file.Close())
	if err == nil {
		err = os.Rename(k.file.Name(), answerName(k.directory, k.question, k.answers.place(k.question)))
	}
	if err != nil {
		_ = os.Remove(k.file.Name())
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was all forgotten meanwhile
		}
		return fmt.Errorf("cannot remember an answer: %w", err)
	}
	return nil
}

func (k *keeping) abandon() {
	if k.ended {
		return
	}
	k.ended = true
	if k.packed != nil {
		_ = k.packed.Close() // its goroutines end
	}
	_ = k.file.Close()
	_ = os.Remove(k.file.Name())
}
