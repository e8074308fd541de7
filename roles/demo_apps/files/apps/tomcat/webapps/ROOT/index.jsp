<% response.sendRedirect("examples/"); %>
