package vault

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
)

var errName = errors.New("not a distinguished name")

// nameTypes are the attribute types that a subject may use, by their names in RFC 4514 and in Windows.
func nameTypes(name string) asn1.ObjectIdentifier {
	return map[string]asn1.ObjectIdentifier{
		"CN": {2, 5, 4, 3}, "SERIALNUMBER": {2, 5, 4, 5}, "C": {2, 5, 4, 6}, "L": {2, 5, 4, 7}, "S": {2, 5, 4, 8}, "ST": {2, 5, 4, 8},
		"STREET": {2, 5, 4, 9}, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}, "T": {2, 5, 4, 12}, "G": {2, 5, 4, 42}, "SN": {2, 5, 4, 4},
		"DC": {0, 9, 2342, 19200300, 100, 1, 25}, "E": {1, 2, 840, 113549, 1, 9, 1}, "EMAIL": {1, 2, 840, 113549, 1, 9, 1},
	}[strings.ToUpper(name)]
}

// parseName reads the text of a distinguished name, such as CN=agent, O="Contoso, Ltd". The order stays.
func parseName(text string) (pkix.RDNSequence, error) {
	var all pkix.RDNSequence
	for rest := strings.TrimSpace(text); rest != ""; {
		name, after, found := strings.Cut(rest, "=")
		oid := nameTypes(strings.TrimSpace(name))
		if !found || oid == nil {
			return nil, errName
		}
		value, next, err := nameValue(strings.TrimLeft(after, " "))
		if err != nil {
			return nil, err
		}
		all = append(all, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
		if next == "" {
			break
		}
		if rest = strings.TrimSpace(next[1:]); rest == "" { // a comma that nothing follows
			return nil, errName
		}
	}
	return all, nil
}

// nameValue reads a value up to the separator, which next begins with, or the end.
func nameValue(text string) (value, next string, err error) {
	var b strings.Builder
	if quoted, isQuoted := strings.CutPrefix(text, `"`); isQuoted {
		for i := 0; i < len(quoted); i++ {
			switch {
			case quoted[i] == '"' && strings.HasPrefix(quoted[i+1:], `"`), quoted[i] == '\\' && i+1 < len(quoted):
				i++
				b.WriteByte(quoted[i])
			case quoted[i] == '"':
				next = strings.TrimLeft(quoted[i+1:], " ")
				if next != "" && next[0] != ',' && next[0] != ';' || b.Len() == 0 {
					return "", "", errName
				}
				return b.String(), next, nil
			default:
				b.WriteByte(quoted[i])
			}
		}
		return "", "", errName
	}
	i, solid := 0, 0 // solid is where the last byte that is no trailing blank ended
	for ; i < len(text) && text[i] != ',' && text[i] != ';'; i++ {
		if text[i] == '\\' {
			if i++; i == len(text) {
				return "", "", errName
			}
			b.WriteByte(text[i])
			solid = b.Len()
			continue
		}
		if strings.IndexByte(`+"<>=`, text[i]) >= 0 {
			return "", "", errName
		}
		b.WriteByte(text[i])
		if text[i] != ' ' {
			solid = b.Len()
		}
	}
	if solid == 0 {
		return "", "", errName
	}
	return b.String()[:solid], text[i:], nil
}
