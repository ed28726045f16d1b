package dhis2sim

// fileResource is one uploaded file.
type fileResource struct {
	record   object
	content  []byte
	assigned bool
}

// fileKnown tells whether a file of that uid was uploaded.
func (s *Server) fileKnown(uid string) bool { return s.files[uid] != nil }

// assignFile notes that a value refers to the file.
func (s *Server) assignFile(uid string) {
	if f := s.files[uid]; f != nil {
		f.assigned = true
	}
}

// file is an uploaded file, nil when it is unknown.
func (s *Server) file(uid string) *fileResource { return s.files[uid] }

func (s *Server) fileRoutes() {}
