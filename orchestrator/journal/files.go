package journal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// FileState is where a file stands on its way to central.
type FileState string

// The states of a file. FileSent is written before the upload: until the next state nobody knows whether it arrived.
const (
	FileSent   FileState = "sent"
	FileStored FileState = "stored" // central has its bytes, compared by checksum
	FileHome   FileState = "home"   // and gives them by the value that names it
)

// File is the receipt of one file.
type File struct {
	UID string
	// Bytes is its length; MD5 is what DHIS2 names its content by, SHA256 that of the bytes read on the kit, empty where
	// central had the file already.
	Bytes       int64
	MD5, SHA256 string
	State       FileState
	// Uploads is how often its bytes were sent to central.
	Uploads int
	// Run is the run that last touched it.
	Run int
}

const fileSchema = `
CREATE TABLE IF NOT EXISTS file(
	uid TEXT PRIMARY KEY, bytes INTEGER NOT NULL, md5 TEXT NOT NULL, sha256 TEXT NOT NULL,
	state TEXT NOT NULL, uploads INTEGER NOT NULL, run INTEGER NOT NULL) WITHOUT ROWID;
`

// PutFile writes how a file stands, replacing how it stood.
func (j *Journal) PutFile(ctx context.Context, f File) error {
	_, err := j.db.ExecContext(ctx, `INSERT INTO file(uid, bytes, md5, sha256, state, uploads, run) VALUES(?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(uid) DO UPDATE SET bytes = excluded.bytes, md5 = excluded.md5, sha256 = excluded.sha256, state = excluded.state,
		uploads = excluded.uploads, run = excluded.run`, f.UID, f.Bytes, f.MD5, f.SHA256, f.State, f.Uploads, f.Run)
	if err != nil {
		return fmt.Errorf("cannot write file %s to the journal: %w", f.UID, err)
	}
	return nil
}

// File reads how a file stands; the zero File with only its UID when the journal knows nothing of it.
func (j *Journal) File(ctx context.Context, uid string) (File, error) {
	f := File{UID: uid}
	err := j.db.QueryRowContext(ctx, `SELECT bytes, md5, sha256, state, uploads, run FROM file WHERE uid = ?`, uid).
		Scan(&f.Bytes, &f.MD5, &f.SHA256, &f.State, &f.Uploads, &f.Run)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return f, fmt.Errorf("cannot read file %s from the journal: %w", uid, err)
	}
	return f, nil
}

// FilesHome counts the files that are home, and their bytes.
func (j *Journal) FilesHome(ctx context.Context) (files int, bytes int64, err error) {
	err = j.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(bytes), 0) FROM file WHERE state = ?`, FileHome).Scan(&files, &bytes)
	if err != nil {
		return 0, 0, fmt.Errorf("cannot count the journal's files: %w", err)
	}
	return files, bytes, nil
}
