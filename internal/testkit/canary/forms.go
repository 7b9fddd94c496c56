package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"strings"
)

const (
	// shortest is the least number of bytes that are looked for: eight random ones meet by chance once in 2^64 places.
	shortest = 8
	// tile is the length of the pieces in which long secrets are looked for. Every run of 47 bytes of the secret holds a whole one, so a
	// single line of PEM (48 bytes) or the part of a number that fits a database page gives it away.
	tile = 24
)

// form is a piece of a secret as it may be written down.
type form struct {
	name  string
	bytes []byte
}

// textForms are those of a secret that is text.
func textForms(secret []byte) []form {
	forms := binaryForms(secret)
	if escaped := url.QueryEscape(string(secret)); escaped != string(secret) {
		forms = append(forms, form{"URL text", []byte(escaped)})
	}
	if quoted, err := json.Marshal(string(secret)); err == nil {
		if inner := quoted[1 : len(quoted)-1]; !bytes.Equal(inner, secret) {
			forms = append(forms, form{"JSON text", inner})
		}
	}
	return forms
}

// numberForms are those of a big number: of its bytes, of their list, and its decimal digits.
func numberForms(n []byte) []form {
	forms := binaryForms(n)
	for _, piece := range tiles(n) {
		list := fmt.Sprint(piece) // [48 130 4]
		list = list[1 : len(list)-1]
		forms = append(forms, form{"list of bytes", []byte(" " + list + " ")}, form{"JSON list of bytes", []byte("," + strings.ReplaceAll(list, " ", ",") + ",")})
	}
	for _, piece := range tiles([]byte(new(big.Int).SetBytes(n).String())) {
		forms = append(forms, form{"decimal number", piece})
	}
	return forms
}

// binaryForms are those of any bytes.
func binaryForms(secret []byte) []form {
	var forms []form
	for _, piece := range tiles(secret) {
		lower := hex.EncodeToString(piece)
		forms = append(forms, form{"plain", piece}, form{"hex", []byte(lower)}, form{"hex", []byte(strings.ToUpper(lower))})
		for shift := range 3 {
			std := aligned(base64.RawStdEncoding, piece, shift)
			forms = append(forms, form{"base64", std})
			if u := aligned(base64.RawURLEncoding, piece, shift); !bytes.Equal(u, std) {
				forms = append(forms, form{"base64url", u})
			}
		}
	}
	return forms
}

// tiles cuts a secret into pieces. What is left at the end goes to the last one.
func tiles(b []byte) [][]byte {
	var all [][]byte
	for len(b) >= 2*tile {
		all = append(all, b[:tile])
		b = b[tile:]
	}
	if len(b) > 0 {
		all = append(all, b)
	}
	return all
}

// aligned is the part of a base64 text that depends on nothing but the piece, when that begins shift bytes into a group of three.
func aligned(enc *base64.Encoding, piece []byte, shift int) []byte {
	padded := append(make([]byte, shift), piece...)
	text := enc.EncodeToString(padded)
	first := (shift*8 + 5) / 6  // characters that hold bits of what stands before
	last := len(padded) * 8 / 6 // characters without bits of what follows
	return []byte(text[first:last])
}

// secretLines are the lines of the key's PEM form, from the first that holds only bytes of the private half: before it stand modulus
// and exponent, which every certificate shows. public tells whether the public half follows d, as in the form of EC keys: its lines are left out.
func secretLines(der, d []byte, public bool) [][]byte {
	const perLine = 48
	at := bytes.Index(der, d)
	if at < 0 {
		return nil
	}
	end := len(der)
	if public {
		end = at + len(d)
	}
	var lines [][]byte
	for from := (at + perLine - 1) / perLine * perLine; from < end; from += perLine {
		line := base64.StdEncoding.EncodeToString(der[from:min(from+perLine, len(der))])
		if len(line) >= tile {
			lines = append(lines, []byte(line))
		}
	}
	return lines
}
