package numbers

import (
	"cmp"
	"slices"
)

// Block is the numbers from First to Last.
type Block struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// Size is how many numbers the block has; 0 for one that ends before it begins.
func (b Block) Size() int64 { return max(b.Last-b.First+1, 0) }

// Add puts blocks among others: the result is in ascending order, and what meets or overlaps is one.
func Add(to []Block, more ...Block) []Block {
	all := slices.SortedFunc(slices.Values(slices.Concat(to, more)), func(a, b Block) int { return cmp.Compare(a.First, b.First) })
	var joined []Block
	for _, b := range all {
		switch last := len(joined) - 1; {
		case b.Size() == 0:
		case last >= 0 && b.First <= joined[last].Last+1:
			joined[last].Last = max(joined[last].Last, b.Last)
		default:
			joined = append(joined, b)
		}
	}
	return joined
}

// From is what of the blocks lies at or above a number.
func From(blocks []Block, number int64) []Block {
	var left []Block
	for _, b := range blocks {
		if b.First = max(b.First, number); b.Size() > 0 {
			left = append(left, b)
		}
	}
	return left
}

// Largest is the largest of the blocks, the first of several; an empty one where there is none.
func Largest(blocks []Block) Block {
	largest := Block{First: 1}
	for _, b := range blocks {
		if b.Size() > largest.Size() {
			largest = b
		}
	}
	return largest
}

// Contains tells whether a number is in one of the blocks.
func Contains(blocks []Block, number int64) bool {
	return slices.ContainsFunc(blocks, func(b Block) bool { return b.First <= number && number <= b.Last })
}
