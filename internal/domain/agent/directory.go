package agent

import "time"

// AppRole is an application permission that a service principal holds: a role of another application.
type AppRole struct {
	ID       string `json:"id"` // of the assignment
	RoleID   string `json:"role_id"`
	Resource string `json:"resource"` // display name of the application that offers it
	Value    string `json:"value"`    // such as Mail.Read, "" where nobody told
}

// Consent is what an application may do in the name of people who sign in to it. Principal is the one person, "" is everybody.
type Consent struct {
	ID        string   `json:"id"`
	Principal string   `json:"principal_id,omitempty"`
	Resource  string   `json:"resource_id"` // object id of the application that is asked
	Scopes    []string `json:"scopes"`
}

// RoleHolder is somebody who holds a role of Microsoft Entra for one object.
type RoleHolder struct {
	ID       string `json:"id"`
	Template string `json:"template_id"`
}

// DirectoryRole is a role of Microsoft Entra that somebody holds. Through is the group that it comes by, "" where it is held directly.
type DirectoryRole struct {
	Name     string `json:"name"`
	Template string `json:"template_id"`
	Scope    string `json:"scope,omitempty"` // "/" or "" is the whole tenant
}

// Membership is what a service principal belongs to, also through other groups.
type Membership struct {
	Roles  []DirectoryRole `json:"roles,omitempty"`
	Groups []Group         `json:"groups,omitempty"`
}

// Group is a group of the directory.
type Group struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// CredentialPolicy is what the app management policies of a tenant demand of one application.
type CredentialPolicy struct {
	NoPasswords bool          `json:"no_passwords"`             // passwords cannot be added
	LongestLife time.Duration `json:"longest_certificate_life"` // of a certificate; 0 is any
	Policies    []string      `json:"policies,omitempty"`       // names of those in force
}
