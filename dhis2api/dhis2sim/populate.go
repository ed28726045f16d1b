package dhis2sim

func (s *Server) populate()            {}
func (s *Server) systemRoutes()        {}
func (s *Server) userRoutes()          {}
func (s *Server) metadataRoutes()      {}
func (s *Server) aggregateRoutes()     {}
func (s *Server) reservedValueRoutes() {}

type aggregateStore struct{}

func newAggregateStore() *aggregateStore { return &aggregateStore{} }
