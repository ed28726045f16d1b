package main

// variable is an environment variable that fieldkit reads, and what it says, for the reference.
type variable struct{ name, says string }

// environment lists every variable that fieldkit reads. Secrets come this way, by a file or by asking, never by
// flags, which other people on the machine can see.
func environment() []variable {
	return []variable{
		{"FIELDKIT_CENTRAL_TOKEN", "a personal access token at central"},
		{"FIELDKIT_CENTRAL_USER", "without a token: the account at central"},
		{"FIELDKIT_CENTRAL_PASSWORD", "its password"},
		{"FIELDKIT_LOCAL_TOKEN", "with `local`: a personal access token at the kit's DHIS2"},
		{"FIELDKIT_LOCAL_USER", "with `local` and no token: the account there"},
		{"FIELDKIT_LOCAL_PASSWORD", "its password"},
		{"PGPASSWORD", "with `local.database`: the password of that database"},
		{"FIELDKIT_IDENTITY_FILE", "a file with the secret age key that reads the snapshot"},
		{"FIELDKIT_PASSPHRASE", "a passphrase that reads the snapshot instead"},
		{"FIELDKIT_WHO", "who decides about conflicts, for the report; without it: the user of this machine"},
		{"DOCKER_HOST", "where the Docker engine listens, as in `unix:///run/user/1000/docker.sock`"},
	}
}
