package merge

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Hash returns a digest of an object: its ref, parent and content. Objects with the same digest are the same
// (SHA-256, cut to 16 bytes); empty fields do not count.
func Hash(object Object) [16]byte {
	fields := make([]string, 0, len(object.Fields))
	for field, value := range object.Fields {
		if value != "" {
			fields = append(fields, field)
		}
	}
	slices.Sort(fields)
	buffer := make([]byte, 0, 1024)
	for _, text := range []string{string(object.Kind), object.UID, string(object.Parent.Kind), object.Parent.UID} {
		buffer = appendText(buffer, text)
	}
	for _, field := range fields {
		buffer = appendText(buffer, field)
		buffer = appendText(buffer, object.Fields[field])
	}
	return cut(sha256.Sum256(buffer))
}

// HashTree returns a digest of several objects in whatever order: equal digests mean the same objects, each
// as often. It does not reorder its argument.
func HashTree(objects []Object) [16]byte {
	hashes := make([][16]byte, len(objects))
	for i, object := range objects {
		hashes[i] = Hash(object)
	}
	slices.SortFunc(hashes, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	digest := sha256.New()
	for _, hash := range hashes {
		digest.Write(hash[:])
	}
	return cut([32]byte(digest.Sum(nil)))
}

// appendText appends a text with its length before it, so that no two lists of texts look alike.
func appendText(buffer []byte, text string) []byte {
	buffer = binary.AppendUvarint(buffer, uint64(len(text)))
	return append(buffer, text...)
}

func cut(sum [32]byte) [16]byte { return [16]byte(sum[:16]) }
