"""The wovr command and the Gradio app."""
