// Package snapshot is the data at a moment: the format on disk, taking it from a server, loading it into
// another.
//
// The nouns:
//
//   - The scope is what a kit carries, resolved against central: org units with everything below them,
//     programs, data sets, and the date from which history is carried (see Scope).
//   - A snapshot is what the scope held when a trip began. Once finished it never changes.
//   - A snapshot has two faces. Taken is the scope as central gave it; Loaded is the same scope as the kit
//     gave it back after loading. What differs between them could not be loaded and is nobody's change.
//   - A part is one file of a face: JSON lines, zstd, age. It holds objects of one kind (see Kind) and mostly
//     of one program or data set. A part appears whole or not at all. A document is a part that holds
//     one JSON value instead of lines.
//   - The manifest lists the parts of every finished face with sizes and SHA-256 sums, the scope, and the
//     servers that were read. It holds no patient data and is not encrypted.
//   - A stream is the objects that are read from a server in one order, such as the tracked entities of one
//     program; it becomes one or more parts. A batch is the piece of a stream that is written together, and
//     a receipt the line in parts.jsonl that says a batch is durable and where the stream goes on. With the
//     receipts an interrupted take goes on where it stopped.
//
// On disk, everything 0600 in 0700 directories:
//
//	snapshot/
//	    manifest.json                                  written last, once per face
//	    key.age                                        the snapshot's own key, where a passphrase guards it
//	    taken/
//	        parts.jsonl                                receipts; only while the face is unfinished
//	        answers/                                   what central answered; only while the face is unfinished
//	        metadata.json.zst.age
//	        view.json.zst.age                          what decides, besides the records, what central shows
//	        tracker-PROGRAM-00001.jsonl.zst.age        tracked entities with that program's enrollments
//	        tracker-TRACKEDENTITYTYPE-00001.jsonl.zst.age    tracked entities without any enrollment
//	        events-PROGRAM-00001.jsonl.zst.age         events of a program without registration
//	        beyond-PROGRAM-00001.jsonl.zst.age         what the scope's date leaves out, to know when it changes
//	        relationships-00001.jsonl.zst.age
//	        values-DATASET-00001.jsonl.zst.age
//	        completions-DATASET-00001.jsonl.zst.age
//	    loaded/                                        likewise
package snapshot
