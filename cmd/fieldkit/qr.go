package main

import (
	"strings"

	"rsc.io/qr"
)

// quiet is the margin, in modules, without which a camera does not find a QR code.
const quiet = 4

// qrCode draws a text as a QR code, two modules a character, dark on light. On a terminal it sets the colours,
// for many of those are light on dark.
func qrCode(text string, terminal bool) (string, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	begin, end := "", "\n"
	if terminal {
		begin, end = "\x1b[30;47m", "\x1b[0m\n"
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(begin)
		for x := -quiet; x < code.Size+quiet; x++ {
			switch above, below := code.Black(x, y), code.Black(x, y+1); {
			case above && below:
				b.WriteRune('█')
			case above:
				b.WriteRune('▀')
			case below:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString(end)
	}
	return b.String(), nil
}
